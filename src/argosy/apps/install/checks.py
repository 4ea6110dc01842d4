"""What is looked at before anything is written: everything that would stop an installation in its middle.

Rules of this file:

- Nothing is written. The server itself is asked about every object, by a write that it checks and does not keep: that
  covers rights, unknown fields, quotas, and objects of others at once.
- An object whose namespace, or kind, is yet to come cannot be asked about; what is of the cluster can.
"""

from collections.abc import Sequence

import msgspec

from argosy.api.crd import crd
from argosy.api.extensions import CustomResourceDefinition
from argosy.api.kubernetes import Deployment
from argosy.api.names import MANAGED_BY, PART_OF, SYSTEM_NAMESPACE
from argosy.api.objects import Key, Object, decode
from argosy.base.errors import NotNow, UserError
from argosy.decide.planning.components import OnCluster
from argosy.decide.planning.installation import INSTALLER, Installation, installation_objects
from argosy.decide.planning.installing import OLDEST_KUBERNETES, Verdict, verdict
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.inventory import inventory
from argosy.edge.kube.kubeconfig import Settings
from argosy.edge.kube.port import NotFound, OwnedByAnother, Rejected, StoreUnavailable
from argosy.edge.kube.published import published_definitions
from argosy.edge.kube.server import server_ports, server_version

_A_COMPONENT = Key(SYSTEM_NAMESPACE, "argosy-gateway")


class Preparation(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written, definitions of kinds first, and what was decided about those of others."""

    version: tuple[int, int]
    verdicts: tuple[Verdict, ...]
    definitions: tuple[CustomResourceDefinition, ...]
    objects: tuple[Object, ...]


async def prepared(settings: Settings, installation: Installation) -> Preparation:
    """Look at the cluster. Raises `UserError` or `NotNow`, with all that stands in the way."""
    async with KubernetesStore(settings) as store:
        version = await checked_version(store)
        await refuse_helm(store, "helm upgrade")
        verdicts = await _verdicts(store)
        ports = await server_ports(store)
    refused = [each.why for each in verdicts if each.verb == "refuse"]
    if refused:
        raise NotNow("; ".join(refused))
    place = installation.cluster or OnCluster()
    place = msgspec.structs.replace(place, api_server_ports=tuple(sorted({*place.api_server_ports, *ports})))
    objects = installation_objects(msgspec.structs.replace(installation, cluster=place))
    definitions = tuple(each.definition for each in verdicts if each.verb == "bring")
    await _ask_about(settings, (*definitions, *objects))
    return Preparation(version=version, verdicts=verdicts, definitions=definitions, objects=objects)


async def checked_version(store: KubernetesStore) -> tuple[int, int]:
    """Give the server's version. Raises `UserError` for one that is too old."""
    version = await server_version(store.connection)
    if version < OLDEST_KUBERNETES:
        raise UserError(f"this is Kubernetes {_dotted(version)}; Argosy needs {_dotted(OLDEST_KUBERNETES)} or newer")
    return version


async def refuse_helm(store: KubernetesStore, command: str) -> None:
    """Raise `UserError` where Helm has installed Argosy: two owners would undo each other's work."""
    found = await store.get(Deployment, _A_COMPONENT)
    if found is not None and found.metadata.labels.get(MANAGED_BY) == "Helm":
        release = found.metadata.annotations.get("meta.helm.sh/release-name", "RELEASE")
        raise UserError(f"Helm has installed Argosy here, as release {release}; use: {command} {release}")


def our_definition() -> CustomResourceDefinition:
    """Give the definition of LLMService."""
    return _installable(decode(CustomResourceDefinition, crd()))


def all_definitions() -> tuple[CustomResourceDefinition, ...]:
    """Give every definition that an installation may bring, as the installer writes it; Argosy's own first."""
    return (our_definition(), *(_installable(published) for published in published_definitions()))


def _installable(definition: CustomResourceDefinition) -> CustomResourceDefinition:
    """Give a definition as the installer writes it: labelled, and without the status of the file that it was in."""
    labels = {**definition.metadata.labels, MANAGED_BY: INSTALLER, PART_OF: "argosy"}
    return CustomResourceDefinition(
        metadata=msgspec.structs.replace(definition.metadata, labels=labels), spec=definition.spec
    )


async def _verdicts(store: KubernetesStore) -> tuple[Verdict, ...]:
    written = await inventory(store.connection, [CustomResourceDefinition])
    by_us = {record.key for record in written if INSTALLER in record.managers}
    ours = our_definition()
    found = [Verdict(verb="bring", definition=ours, why=f"{ours.metadata.name} is Argosy's own")]
    for published in published_definitions():
        there = await store.get(CustomResourceDefinition, published.key)
        found.append(verdict(_installable(published), there, installed=published.key in by_us))
    return tuple(found)


async def _ask_about(settings: Settings, objects: Sequence[Object]) -> None:
    async with KubernetesStore(settings, dry_run=True) as store:
        reasons = [why for obj in objects if (why := await _refusal(store, obj)) is not None]
    if reasons:
        listed = "".join(f"\n  {why}" for why in reasons)
        raise NotNow(f"nothing was written, since the API server refuses {len(reasons)} of {len(objects)}:{listed}")


async def _refusal(store: KubernetesStore, obj: Object) -> str | None:
    try:
        await store.retake(obj, owner=INSTALLER)
    except NotFound:
        return None
    except (OwnedByAnother, Rejected, StoreUnavailable) as error:
        return str(error)
    return None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
