"""The supervisor behind `argosy up`: object store, planner, Deployment controller and node in one process.

Rules of this file:

- One loop reconciles, and each pass begins from what the store holds: a missed event costs nothing.
- What planning wants is owned by `planner`, what a user wants by `user`, pods by `deployments`.
- Ending: the loop stops first, so that nothing comes back; then workers drain while the gateway still carries their
  answers; then the rest ends.
"""

import asyncio
import contextlib
import logging
import random
import uuid
from collections.abc import Container, Iterable, Mapping

import msgspec

from argosy.api.gateway import Gateway
from argosy.api.kinds import KINDS
from argosy.api.kubernetes import Deployment, Pod, Service
from argosy.api.llmservice import LLMService
from argosy.api.objects import Key, Object
from argosy.apps.local.deployments import pod_changes
from argosy.apps.local.images import local_commands
from argosy.apps.local.node import Machine, Node, cpu_limit, cpu_share
from argosy.apps.local.state import StateDirectory
from argosy.apps.local.weights import KnownWeights
from argosy.base.errors import PeerError
from argosy.decide.planning.capabilities import Capabilities
from argosy.decide.planning.installation import Installation
from argosy.decide.planning.observation import installation_gateway
from argosy.decide.planning.plan import Plan, plan
from argosy.decide.planning.stand_ins import served
from argosy.decide.planning.status import gateway_url, statuses
from argosy.edge.clock import rfc3339_now
from argosy.edge.kube.cache import Cache
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.port import NotFound, ObjectStore
from argosy.edge.kube.serve import serve_store
from argosy.edge.processes.engine_python import EnginePython

USER, PLANNER, DEPLOYMENTS = "user", "planner", "deployments"
BIND_ADDRESS = "127.0.0.1"
RETRY_S = 1.0

log = logging.getLogger(__name__)


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance is started with."""

    installation: Installation
    capabilities: Capabilities
    environment: Mapping[str, str]
    engine: EnginePython | None = None


async def supervise(
    state: StateDirectory, setting: Setting, services: Iterable[LLMService], *, end: asyncio.Event
) -> None:
    """Serve the services until `end` is set, then drain and end everything."""
    store = InMemoryStore(now=rfc3339_now, new_uid=lambda: str(uuid.uuid4()))
    await make_services_so(store, services)
    async with serve_store(store, state.socket), asyncio.TaskGroup() as group:
        wake = asyncio.Event()
        home = setting.environment.get("HOME", str(state.root))
        commands = local_commands(state, bind_address=BIND_ADDRESS, engine=setting.engine, home=home)
        machine = Machine(state=state, commands=commands, environment=setting.environment)
        node = Node(store, machine, group, now=rfc3339_now, woken=wake.set)
        loop = group.create_task(_reconcile_forever(store, node, setting, wake), name="reconcile")
        await end.wait()
        loop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await loop
        await node.stop_all()


async def make_services_so(store: ObjectStore, services: Iterable[LLMService]) -> dict[str, list[str]]:
    """Make the store's services exactly these; give the names that were added, changed and removed."""
    wanted = {service.key: service for service in services}
    before = {service.key: service for service in (await store.list(LLMService)).items}
    done: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}
    for key, service in wanted.items():
        after = await store.apply(service, owner=USER)
        if key not in before:
            done["added"].append(key.name)
        elif after.metadata.resource_version != before[key].metadata.resource_version:
            done["changed"].append(key.name)
    for key in before.keys() - wanted.keys():
        await store.delete(LLMService, key)
        done["removed"].append(key.name)
    return done


async def _reconcile_forever(store: InMemoryStore, node: Node, setting: Setting, wake: asyncio.Event) -> None:
    known = KnownWeights()
    async with Cache(store, KINDS, rng=random.Random()) as cache, asyncio.TaskGroup() as group:  # noqa: S311 (jitter)
        group.create_task(_wake_on_change(cache, wake))
        while True:
            wake.clear()
            try:
                left_off = await _reconcile(store, node, setting, known)
            except PeerError as error:
                log.warning("a pass was left off, the next one follows: %s", error)
                left_off = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S if left_off else None):
                    await wake.wait()


async def _wake_on_change(cache: Cache, wake: asyncio.Event) -> None:
    seen = 0
    while True:
        seen = await cache.changed(seen)
        wake.set()


async def _reconcile(store: InMemoryStore, node: Node, setting: Setting, known: KnownWeights) -> bool:
    """Do one pass; say whether something has to be tried again without a change."""
    services = (await store.list(LLMService)).items
    planned = await _apply_plan(store, services, setting, known)
    share = await _apply_deployments(store, planned.leaving)
    pods, deployments = (await store.list(Pod)).items, (await store.list(Deployment)).items
    left_off = await node.sync(pods, (await store.list(Service)).items, deployments, share=share)
    deployments, pods = (await store.list(Deployment)).items, (await store.list(Pod)).items
    url = gateway_url(installation_gateway((await store.list(Gateway)).items), otherwise=BIND_ADDRESS)
    for service in statuses(services, planned, deployments, pods, now=rfc3339_now(), url=url):
        with contextlib.suppress(NotFound):  # removed meanwhile: the next pass plans without it
            await store.write_status(service)
    return left_off


async def _apply_plan(
    store: InMemoryStore, services: tuple[LLMService, ...], setting: Setting, known: KnownWeights
) -> Plan:
    observed: list[Object] = []
    for kind in KINDS:
        if kind is not LLMService:
            observed.extend((await store.list(kind)).items)
    sources = {source for service in services for source in served(service, setting.capabilities, {}).sources}
    planned = plan(
        services,
        observed,
        installation=setting.installation,
        capabilities=setting.capabilities,
        weights=await asyncio.to_thread(known.of, frozenset(sources)),
    )
    for change in planned.changes:
        if change.delete:
            await store.delete(type(change.object), change.object.key, uid=change.object.metadata.uid)
        else:
            await store.apply(change.object, owner=PLANNER)
    return planned


async def _apply_deployments(store: InMemoryStore, leaving: Container[Key]) -> int:
    """Make and remove pods, and give the CPUs of each engine.

    Those that are `leaving` stay as they are until they go, and have no part in the CPUs of those that stay.
    """
    pods = (await store.list(Pod)).items
    deployments = (await store.list(Deployment)).items
    coming = [deployment for deployment in deployments if deployment.key not in leaving]
    share = cpu_share(coming)
    for deployment in coming:
        cpus = cpu_limit(deployment.spec.template.spec, share)
        changes = pod_changes(deployment, pods, cpus=cpus)
        uids = {pod.key: pod.metadata.uid for pod in pods}
        for key in changes.delete:
            await store.end(Pod, key, uid=uids[key])
        for pod in changes.create:
            await store.apply(pod, owner=DEPLOYMENTS)
        await store.write_status(msgspec.structs.replace(deployment, status=changes.status))
    alive = {deployment.metadata.uid for deployment in deployments}
    for pod in pods:
        owners = {reference.uid for reference in pod.metadata.owner_references if reference.kind == Deployment.KIND}
        if owners and not owners & alive:
            await store.end(Pod, pod.key, uid=pod.metadata.uid)
    return share
