"""Waits until services serve, or are gone, and tells every change meanwhile.

Rules of this file:

- Level-triggered, from mirrors of the namespaces: a missed event, or a store that is away for a while, costs
  nothing but time.
- A wait has an end, always.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from argosy.api.kubernetes import Pod
from argosy.api.llmservice import StoredService
from argosy.api.names import SERVICE_LABEL
from argosy.api.objects import K, Key, Object
from argosy.apps.fleet.fleet import Fleet
from argosy.decide.planning.progress import Progress, progress_of
from argosy.edge.kube.cache import Cache
from argosy.edge.kube.port import StoreUnavailable

PATIENCE_S = 15.0
"""So long may a service fail again and again until nobody waits for it any more."""


async def wait_until_serving(
    fleet: Fleet,
    generations: Mapping[Key, int | None],
    *,
    timeout_s: float,
    show: Callable[[Mapping[Key, Progress]], None],
) -> Mapping[Key, Progress]:
    """Wait until all services serve the generations given; give how far each is at the end.

    The end is also the time, a service that is gone, and one that fails for longer than a restart or two would take.
    `show` is called with every change. Raises `StoreUnavailable` when the store has not answered until the end.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    failing_since: dict[Key, float] = {}
    async with _mirror(fleet, (StoredService,), generations) as mirror:
        await mirror.synced(until=deadline)
        while True:
            found = {service.key: service for service in mirror.all(StoredService)}
            progress = {key: progress_of(found.get(key), generation=wanted) for key, wanted in generations.items()}
            show(progress)
            now = loop.time()
            states = {each.state for each in progress.values()}
            failing = [key for key, each in progress.items() if each.state == "failing"]
            failing_since = {key: failing_since.get(key, now) for key in failing}
            end = min([deadline, *(since + PATIENCE_S for since in failing_since.values())])
            if states <= {"serving"} or "gone" in states or now >= end:
                return progress
            await mirror.changed(until=end)


async def wait_until_gone(
    fleet: Fleet, keys: Iterable[Key], *, timeout_s: float, show: Callable[[frozenset[Key]], None]
) -> frozenset[Key]:
    """Wait until services and all their pods are gone; give what is left when the time is over, pods or services.

    `show` is called with what is left, at every change. Raises `StoreUnavailable` as above.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    wanted = frozenset(keys)
    async with _mirror(fleet, (StoredService, Pod), wanted) as mirror:
        await mirror.synced(until=deadline)
        while True:
            services = {service.key for service in mirror.all(StoredService)} & wanted
            left = frozenset(services | {pod.key for pod in mirror.all(Pod) if _service_of(pod) in wanted})
            show(left)
            if not left or asyncio.get_running_loop().time() >= deadline:
                return left
            await mirror.changed(until=deadline)


def _service_of(pod: Pod) -> Key:
    return Key(pod.metadata.namespace or "", pod.metadata.labels.get(SERVICE_LABEL, ""))


class _Mirror:
    """Several namespaces' objects."""

    def __init__(self, caches: Sequence[Cache]) -> None:
        self._caches = caches
        self._seen = [0] * len(caches)

    def all(self, kind: type[K]) -> tuple[K, ...]:
        return tuple(obj for cache in self._caches for obj in cache.all(kind))

    async def synced(self, *, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                for index, cache in enumerate(self._caches):
                    await cache.synced()
                    self._seen[index] = cache.version
        except TimeoutError:
            raise StoreUnavailable("it did not show its services in the time given") from None

    async def changed(self, *, until: float) -> None:
        """Wait for any change, or the time."""
        waiting = [
            asyncio.create_task(cache.changed(seen)) for cache, seen in zip(self._caches, self._seen, strict=True)
        ]
        left_s = until - asyncio.get_running_loop().time()
        await asyncio.wait(waiting, timeout=max(0.0, left_s), return_when=asyncio.FIRST_COMPLETED)
        for index, task in enumerate(waiting):
            if task.done():
                self._seen[index] = task.result()
            task.cancel()


@asynccontextmanager
async def _mirror(fleet: Fleet, kinds: Sequence[type[Object]], keys: Iterable[Key]) -> AsyncIterator[_Mirror]:
    async with AsyncExitStack() as stack:
        caches = [
            await stack.enter_async_context(
                Cache(fleet.store, kinds, rng=random.Random(), namespace=namespace)  # noqa: S311 (spreads retries)
            )
            for namespace in sorted({key.namespace for key in keys})
        ]
        yield _Mirror(caches)
