"""A mirror of several kinds of an object store, kept up by list and watch.

    async with Cache(store, (Gateway, HTTPRoute), rng=random.Random()) as cache:
        await cache.synced()
        seen = 0
        while True:
            seen = await cache.changed(seen)
            recompute(cache.all(Gateway), cache.all(HTTPRoute))

Rules of this file:

- Level-triggered: `changed(seen)` returns once the mirror differs from what version `seen` showed, however many events
  that took; a consumer recomputes from `all` and forgets what it knew. Version 0 is older than anything.
- `all` never waits. While the store is away it gives the last state known, and a line in the log says so.
- A watch that ends is resumed from the last version seen; only `Gone` makes it list again. Retries back off from 50 ms
  to 5 s, with jitter from `rng`.
- An optional kind that is withheld counts as listed, with no objects: a cluster may not have it. It is asked for again,
  as seldom as a store that is away. If it was had before, the last state stands, unless the kind itself is gone.
- A bug in here or in the store's client ends the mirror; `synced` and `changed` raise it.
"""

import asyncio
import bisect
import contextlib
import itertools
import logging
import random
from collections import deque
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self, cast

from argosy.api.objects import K, Key, Object
from argosy.edge.kube.port import Change, Gone, NotServed, ObjectStore, StoreUnavailable, Withheld

_log = logging.getLogger(__name__)

FIRST_DELAY_S = 0.05
LONGEST_DELAY_S = 5.0
REMEMBERED = 4096
"""How many changes of objects back the mirror knows which they were."""
STEADY_S = 1.0
"""The end of a watch that was open for so long starts the back-off anew."""


class Cache:
    """The last known objects of `kinds` and of `optional` ones, in one namespace or in all."""

    def __init__(
        self,
        store: ObjectStore,
        kinds: Sequence[type[Object]],
        *,
        rng: random.Random,
        namespace: str | None = None,
        optional: Sequence[type[Object]] = (),
    ) -> None:
        kinds = (*kinds, *optional)
        self._store = store
        self._optional = frozenset(optional)
        self._served: set[type[Object]] = set()
        self._namespace = namespace
        self._rng = rng
        self._objects: dict[type[Object], dict[Key, Object]] = {kind: {} for kind in kinds}
        self._order: dict[type[Object], list[Key]] = {kind: [] for kind in kinds}
        self._sorted: dict[type[Object], tuple[Object, ...]] = {}
        self._unlisted = set(kinds)
        self._version = 0
        self._changes: deque[tuple[tuple[type[Object], Key], ...]] = deque()
        self._remembered = 0
        self._said: dict[type[Object], str] = {}
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
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
            self._sorted[kind] = tuple(objects[key] for key in self._order[kind])
        return cast("tuple[K, ...]", self._sorted[kind])

    def serves(self, kind: type[Object]) -> bool:
        """Say whether the store gives objects of a kind, as far as is known."""
        return kind in self._served

    @property
    def version(self) -> int:
        """Grows with every change of the mirror."""
        return self._version

    def get(self, kind: type[K], key: Key) -> K | None:
        """Give one object, or None when it is not there."""
        return cast("K | None", self._objects[kind].get(key))

    def changes(self, seen: int) -> tuple[int, frozenset[tuple[type[Object], Key]] | None]:
        """Give the version now, and which objects have changed since version `seen`.

        None instead of them when that has been forgotten: then anything may have.
        """
        missed = self._version - seen
        if missed > len(self._changes):
            return self._version, None
        newest = itertools.islice(reversed(self._changes), missed)
        return self._version, frozenset(itertools.chain.from_iterable(newest))

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
            trouble = ""
            try:
                if since is None:
                    since = await self._list(kind)
                async with contextlib.aclosing(
                    cast("Any", self._store.watch(kind, since=since, namespace=self._namespace))
                ) as events:
                    async for change, obj in events:
                        since = obj.metadata.resource_version
                        self._note(kind, change, obj)
            except Gone:
                since = None
            except NotServed as error:
                if kind in self._optional:
                    since = None
                    self._take(kind, {}, served=False)
                else:
                    trouble = str(error)
            except StoreUnavailable as error:
                trouble = str(error)  # what is known stays, and the watch is resumed
                if isinstance(error, Withheld) and kind in self._optional and kind in self._unlisted:
                    self._take(kind, {}, served=False)
            attempt = 0 if loop.time() - begun > STEADY_S else attempt + 1
            self._say(kind, trouble)
            longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(attempt, 10))
            await asyncio.sleep(longest * self._rng.uniform(0.5, 1.0))

    def _say(self, kind: type[Object], trouble: str) -> None:
        """Say that a kind is not to be had, once until it was or for another reason."""
        if trouble and trouble != self._said.get(kind):
            _log.warning("%s: the last state known stands: %s", kind.PLURAL, trouble)
        self._said[kind] = trouble

    async def _list(self, kind: type[Object]) -> str:
        listing = await self._store.list(kind, namespace=self._namespace)
        self._take(kind, {obj.key: obj for obj in listing.items}, served=True)
        return listing.resource_version

    def _take(self, kind: type[Object], objects: dict[Key, Object], *, served: bool) -> None:
        before = self._objects[kind]
        has_turned = served != (kind in self._served)
        if has_turned:
            self._served ^= {kind}
        if kind in self._unlisted or has_turned or objects != before:
            self._unlisted.discard(kind)
            self._objects[kind] = objects
            self._order[kind] = sorted(objects)
            keys = (key for key in objects.keys() | before.keys() if objects.get(key) != before.get(key))
            self._changed(kind, keys)

    def _note(self, kind: type[Object], change: Change, obj: Object) -> None:
        objects, order = self._objects[kind], self._order[kind]
        if change is not Change.DELETED:
            if obj.key not in objects:
                bisect.insort(order, obj.key)
            objects[obj.key] = obj
        elif objects.pop(obj.key, None) is not None:
            del order[bisect.bisect_left(order, obj.key)]
        self._changed(kind, (obj.key,))

    def _changed(self, kind: type[Object], keys: Iterable[Key]) -> None:
        self._sorted.pop(kind, None)
        names = tuple((kind, key) for key in keys)
        self._changes.append(names)
        self._remembered += len(names)
        while self._remembered > REMEMBERED:
            self._remembered -= len(self._changes.popleft())
        self._version += 1
        self._wake()
