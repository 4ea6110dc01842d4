"""Looks at a fleet: reads its objects, and the metrics pages of pickers and Envoys.

Nothing is asked of a supervisor or an operator. What this user may not read is said, and the rest is shown.
"""

import asyncio
from collections.abc import Iterable

from argosy.api.gateway import Gateway
from argosy.api.kubernetes import Pod
from argosy.api.llmservice import StoredService
from argosy.api.names import COMPONENT, ENGINE_PORT, METRICS_PORT, SERVICE_LABEL, SYSTEM_NAMESPACE
from argosy.api.objects import K, Key
from argosy.apps.fleet.fleet import Fleet
from argosy.base.errors import PeerError
from argosy.decide.planning.observation import Observation, Samples, Seen, observation
from argosy.edge.http.exposition import samples
from argosy.edge.kube.port import Withheld
from argosy.engines.llama_cpp import METRICS_PATH

_USABLE = ("argosy_scheduling_file_usable", ())
_PAGES = {"picker": "/metrics", "envoy": "/stats/prometheus?filter=failure_mode_allowed"}


async def observe(fleet: Fleet) -> Observation:
    """Look at a fleet once. Raises `StoreUnavailable` when it is away, or shows no services at all."""
    unseen: list[str] = []
    services = (await fleet.store.list(StoredService, namespace=fleet.namespace)).items
    pods = await _readable(fleet, Pod, fleet.namespace, unseen)
    system = pods
    if fleet.namespace is not None:
        system = await _readable(fleet, Pod, SYSTEM_NAMESPACE, unseen)
        pods += system
    gateways = await _readable(fleet, Gateway, SYSTEM_NAMESPACE, unseen)
    pages = await _pages(fleet, system, unseen)
    return observation(
        Seen(
            services=services,
            pods=pods,
            gateways=gateways,
            picker=_sum(pages["picker"]),
            envoy=_sum(pages["envoy"]),
            draining=await _draining(fleet, pods),
            scheduling_usable=scheduling_usable(pages["picker"]),
            supervisor_pid=fleet.supervisor_pid,
            unseen=tuple(unseen),
        )
    )


async def _readable(fleet: Fleet, kind: type[K], namespace: str | None, unseen: list[str]) -> tuple[K, ...]:
    try:
        return (await fleet.store.list(kind, namespace=namespace)).items
    except Withheld as error:
        unseen.append(str(error))
        return ()


async def _pages(fleet: Fleet, pods: Iterable[Pod], unseen: list[str]) -> dict[str, list[Samples]]:
    """Give the pages of each component, empty ones of pods that do not answer."""

    async def page(pod: Pod, path: str) -> Samples:
        try:
            return read_samples(await fleet.pages.page(pod, METRICS_PORT, path))
        except PeerError as error:
            unseen.append(f"metrics of {pod.metadata.name}: {error}")
            return {}

    return {
        component: await asyncio.gather(*(page(pod, path) for pod in running(pods, component)))
        for component, path in _PAGES.items()
    }


async def _draining(fleet: Fleet, pods: Iterable[Pod]) -> dict[Key, Samples]:
    """Give the pages of workers that end, of as many as answer: they say what they wait for."""

    async def page(pod: Pod) -> Samples:
        try:
            return read_samples(await fleet.pages.page(pod, ENGINE_PORT, METRICS_PATH))
        except PeerError:
            return {}

    ending = [
        pod
        for pod in pods
        if pod.metadata.deletion_timestamp and SERVICE_LABEL in pod.metadata.labels and pod.status.pod_ip
    ]
    pages = await asyncio.gather(*map(page, ending))
    return {pod.key: found for pod, found in zip(ending, pages, strict=True)}


def scheduling_usable(pages: Iterable[Samples]) -> bool | None:
    """Say of pages of pickers whether the scheduling file of each is in force; None where none says."""
    said = [page[_USABLE] for page in pages if _USABLE in page]
    return all(said) if said else None


def running(pods: Iterable[Pod], component: str) -> list[Pod]:
    """Give the pods of a component that run."""
    return [
        pod
        for pod in pods
        if pod.metadata.namespace == SYSTEM_NAMESPACE
        and pod.metadata.labels.get(COMPONENT) == component
        and any("running" in container.state for container in pod.status.container_statuses)
    ]


def read_samples(page: bytes) -> Samples:
    """Give the values of a page in Prometheus' text format. Raises `PeerError` for one that cannot be read."""
    try:
        return samples(page)
    except ValueError as error:
        raise PeerError(f"the page cannot be read: {error}") from error


def _sum(pages: Iterable[Samples]) -> Samples:
    total: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for page in pages:
        for key, value in page.items():
            total[key] = total.get(key, 0.0) + value
    return total
