"""A mirror of several kinds of an object store, kept up by list and watch.

    async with Cache(store, (Gateway, HTTPRoute), rng=random.Random()) as cache:
        await cache.synced()
        seen = 0
        while True:
            seen = await cache.changed(seen)
            recompute(cache.all(Gateway), cache.all(HTTPRoute))

Rules of this file:

- Level-triggered: `changed(seen)` returns once the mirror differs from what version `seen` showed, however many events
  that took; a consumer recomputes from `all` and `get` and forgets what it knew. Version 0 is older than anything.
- `all` and `get` never wait. While the store is away they give the last state known; `age_s` says how old it may be
  (0 while connected).
- A watch that ends is resumed from the last version seen; only `Gone` makes it list again. Retries back off from 50 ms
  to 5 s, with jitter from `rng`.
- A bug in here or in the store's client ends the mirror; `synced` and `changed` raise it.
"""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, cast

from argosy.api.objects import K, Key, Object
from argosy.edge.kube.port import Change, Gone, ObjectStore, StoreUnavailable

FIRST_DELAY_S = 0.05
LONGEST_DELAY_S = 5.0
STEADY_S = 1.0
"""A watch open for so long counts as connected, and its end starts the back-off anew."""


class Cache:
    """The last known objects of `kinds`, in one namespace or in all."""

    def __init__(
        self,
        store: ObjectStore,
        kinds: Sequence[type[Object]],
        *,
        rng: random.Random,
        namespace: str | None = None,
    ) -> None:
        self._store = store
        self._namespace = namespace
        self._rng = rng
        self._objects: dict[type[Object], dict[Key, Object]] = {kind: {} for kind in kinds}
        self._sorted: dict[type[Object], tuple[Object, ...]] = {}
        self._unlisted = set(kinds)
        self._away: dict[type[Object], float] = {}
        self._version = 0
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._away = dict.fromkeys(self._objects, asyncio.get_running_loop().time())
        self._task = asyncio.create_task(self._follow_all(), name="object cache")
        self._task.add_done_callback(lambda _task: self._wake())
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, ExceptionGroup):  # `changed` has raised it
                await self._task

    def all(self, kind: type[K]) -> tuple[K, ...]:
        """Give all objects of a kind, ordered by namespace and name."""
        if kind not in self._sorted:
            objects = self._objects[kind]
            self._sorted[kind] = tuple(objects[key] for key in sorted(objects))
        return cast("tuple[K, ...]", self._sorted[kind])

    def get(self, kind: type[K], key: Key) -> K | None:
        """Give one object, or None."""
        return cast("K | None", self._objects[kind].get(key))

    @property
    def version(self) -> int:
        """Grows with every change of the mirror."""
        return self._version

    @property
    def connected(self) -> bool:
        """Whether every kind is being watched."""
        return not self._away

    @property
    def age_s(self) -> float:
        """Seconds since the mirror was last known to be up to date; 0 while connected."""
        return asyncio.get_running_loop().time() - min(self._away.values()) if self._away else 0.0

    async def synced(self) -> None:
        """Wait until every kind has been listed once."""
        while self._unlisted:
            await self._wait()

    async def changed(self, seen: int) -> int:
        """Wait until all kinds are listed and the version is above `seen`; give the version."""
        await self.synced()
        while self._version <= seen:
            await self._wait()
        return self._version

    async def _wait(self) -> None:
        if self._task is not None and self._task.done():
            self._task.result()
        await self._woken.wait()

    def _wake(self) -> None:
        self._woken.set()
        self._woken = asyncio.Event()

    async def _follow_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for kind in self._objects:
                group.create_task(self._follow(kind))

    async def _follow(self, kind: type[Object]) -> None:
        loop = asyncio.get_running_loop()
        since: str | None = None
        attempt = 0
        while True:
            begun = loop.time()
            try:
                if since is None:
                    since = await self._list(kind)
                steady = loop.call_later(STEADY_S, self._mark_connected, kind)
                try:
                    async with contextlib.aclosing(
                        cast("Any", self._store.watch(kind, since=since, namespace=self._namespace))
                    ) as events:
                        async for change, obj in events:
                            since = obj.metadata.resource_version
                            self._mark_connected(kind)
                            self._note(kind, change, obj)
                finally:
                    steady.cancel()
            except Gone:
                since = None
            except StoreUnavailable:
                self._away.setdefault(kind, loop.time())
            attempt = 0 if loop.time() - begun > STEADY_S else attempt + 1
            longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(attempt, 10))
            await asyncio.sleep(longest * self._rng.uniform(0.5, 1.0))

    async def _list(self, kind: type[Object]) -> str:
        listing = await self._store.list(kind, namespace=self._namespace)
        objects: dict[Key, Object] = {obj.key: obj for obj in listing.items}
        self._mark_connected(kind)
        if kind in self._unlisted or objects != self._objects[kind]:
            self._unlisted.discard(kind)
            self._objects[kind] = objects
            self._changed(kind)
        return listing.resource_version

    def _note(self, kind: type[Object], change: Change, obj: Object) -> None:
        if change is Change.DELETED:
            self._objects[kind].pop(obj.key, None)
        else:
            self._objects[kind][obj.key] = obj
        self._changed(kind)

    def _changed(self, kind: type[Object]) -> None:
        self._sorted.pop(kind, None)
        self._version += 1
        self._wake()

    def _mark_connected(self, kind: type[Object]) -> None:
        self._away.pop(kind, None)
