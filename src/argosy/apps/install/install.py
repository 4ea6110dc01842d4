"""Puts the installation on a cluster: written in order by server-side apply, then waited for.

Rules of this file:

- Running it again is an upgrade: what is as it should be is not written, and what an earlier version has made and this
  one does not want is removed.
- What a hand has changed of ours is restored; what somebody else applies, or scales, is left, and named.
- Everything that is done, and all that is waited for, is reported as it happens.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from argosy.api.extensions import CustomResourceDefinition
from argosy.api.gateway import Gateway
from argosy.api.kinds import INSTALLED_KINDS, KINDS
from argosy.api.kubernetes import Deployment, Pod, Service
from argosy.api.names import GATEWAY_LABEL, MANAGED_BY, SYSTEM_NAMESPACE
from argosy.api.objects import K, Key, Object
from argosy.apps.install.checks import Preparation
from argosy.apps.install.waiting import Report, patiently, until_nothing_is_missing
from argosy.decide.planning.installation import GATEWAY_NAME, INSTALLER
from argosy.decide.planning.installing import left_over, unavailable
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.inventory import inventory
from argosy.edge.kube.port import Retaken

ESTABLISHED_S: Final = 30.0
"""How long a server may take to serve a kind that it has just been taught."""


async def install(store: KubernetesStore, preparation: Preparation, report: Report) -> None:
    """Write everything. Raises `NotNow`, or the port's write errors."""
    for verdict in preparation.verdicts:
        if verdict.verb == "keep":
            report(f"kept: {verdict.why}")
    await _write(store, preparation.definitions, report)
    await _established(store, preparation.definitions, report)
    await _write(store, preparation.objects, report)
    wanted = (*preparation.definitions, *preparation.objects, *(each.definition for each in preparation.verdicts))
    kinds = [kind for kind in (*KINDS, *INSTALLED_KINDS) if kind is not Pod]
    found = await patiently(lambda: inventory(store.connection, kinds, selector=f"{MANAGED_BY}={INSTALLER}"))
    for record in left_over(wanted, found):
        await store.delete(record.kind, record.key, uid=record.uid)
        report(f"removed {record}, which this version does without")


async def until_available(
    store: KubernetesStore, objects: Iterable[Object], report: Report, *, timeout_s: float
) -> None:
    """Wait until all Deployments are rolled out and available. Raises `NotNow`, with the reasons, after `timeout_s`."""
    wanted = {obj.key for obj in objects if isinstance(obj, Deployment)}

    async def missing() -> Mapping[str, str]:
        there = (await store.list(Deployment, namespace=SYSTEM_NAMESPACE)).items
        pods = (await store.list(Pod, namespace=SYSTEM_NAMESPACE)).items
        return unavailable((each for each in there if each.key in wanted), pods)

    await until_nothing_is_missing(missing, report, then="is available", timeout_s=timeout_s)
    report(f"available: {', '.join(sorted(key.name for key in wanted))}")


async def gateway_addresses(store: KubernetesStore) -> Sequence[str]:
    """Give where the installation's Gateway is reached, as its status says; nothing when that is not known yet."""
    gateway = await store.get(Gateway, Key(SYSTEM_NAMESPACE, GATEWAY_NAME))
    return [address.value for address in gateway.status.addresses] if gateway else []


async def gateway_service(store: KubernetesStore) -> str | None:
    """Give the name of the Service before the Gateway's Envoys, or None while there is none."""
    services = (await store.list(Service, namespace=SYSTEM_NAMESPACE)).items
    found = (each.metadata.name for each in services if each.metadata.labels.get(GATEWAY_LABEL) == GATEWAY_NAME)
    return next(found, None)


async def _write(store: KubernetesStore, objects: Iterable[Object], report: Report) -> None:
    for obj in objects:
        before, after = await patiently(partial(_written, store, obj))
        name = f"{obj.KIND} {obj.key}"
        if before is None:
            report(f"created {name}")
        elif before.metadata.resource_version != after.object.metadata.resource_version:
            report(f"changed {name}")
        else:
            report(f"unchanged {name}")
        for held in after.held:
            report(f"left {held.field or 'all'} of {name} to {held.holder!r}, who wants it otherwise")


async def _written(store: KubernetesStore, obj: K) -> tuple[K | None, Retaken[K]]:
    return await store.get(type(obj), obj.key), await store.retake(obj, owner=INSTALLER)


async def _established(store: KubernetesStore, definitions: Iterable[CustomResourceDefinition], report: Report) -> None:
    async def missing() -> Mapping[str, str]:
        found = [await store.get(CustomResourceDefinition, definition.key) for definition in definitions]
        return {
            each.metadata.name: "the API server does not serve it yet"
            for each in found
            if each is not None and not each.established
        }

    await until_nothing_is_missing(missing, report, then="is served", timeout_s=ESTABLISHED_S)
