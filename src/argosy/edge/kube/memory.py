"""The object store in memory: what a laptop has for an API server, and what tests run against.

Rules of this file:

- One counter orders all changes. A resource version is `EPOCH.NUMBER`; the epoch is new with every store, so that a
  watcher which outlived the store of before is told `Gone`, never served a wrong continuation.
- Watchers have no queues: each reads the history of its kind from its own position. History is bounded, so a slow
  watcher costs nothing and is told `Gone` when it falls behind.
- What counts as a change is decided after normalising: nulls, empty values and defaults are nothing.
- The owner of an object is kept beside it; it is the one who applied it first. Fields that it leaves out are removed.
"""

import asyncio
import bisect
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import msgspec

from argosy.api.objects import K, Key, Object, ObjectMeta, encode
from argosy.base.errors import CallerError
from argosy.edge.kube.port import Change, Changed, Event, Gone, Held, Listing, NotFound, OwnedByAnother, Retaken

HISTORY = 1024
"""Changes remembered for each kind."""

_KindName = tuple[str, str]


class _Entry(NamedTuple):
    object: Any
    owner: str


class _History:
    """The last changes of one kind, numbered without gaps from `first`."""

    def __init__(self, limit: int) -> None:
        self._events: deque[tuple[int, Event[Any]]] = deque()
        self._limit = limit
        self.first = 0
        self.forgotten = 0
        self.grown = asyncio.Event()

    @property
    def end(self) -> int:
        return self.first + len(self._events)

    def add(self, version: int, event: Event[Any]) -> None:
        self._events.append((version, event))
        self.forget(down_to=self._limit)
        self.grown.set()
        self.grown = asyncio.Event()

    def forget(self, down_to: int) -> None:
        while len(self._events) > down_to:
            self.forgotten, _ = self._events.popleft()
            self.first += 1

    def position_after(self, version: int) -> int:
        if version < self.forgotten:
            raise Gone(f"changes after version {version} have been forgotten")
        return self.first + bisect.bisect_right(self._events, version, key=lambda entry: entry[0])

    def at(self, position: int) -> Event[Any]:
        if position < self.first:
            raise Gone("the watcher was too slow: changes that it has not seen have been forgotten")
        return self._events[position - self.first][1]


class InMemoryStore:
    """An `ObjectStore` of any kinds, in this process.

    `now` gives the time as RFC 3339, `new_uid` an identifier never given before; the first names the epoch.
    """

    def __init__(self, *, now: Callable[[], str], new_uid: Callable[[], str], history: int = HISTORY) -> None:
        self._now = now
        self._new_uid = new_uid
        self._history_limit = history
        self._epoch = new_uid()
        self._version = 0
        self._entries: dict[_KindName, dict[Key, _Entry]] = {}
        self._histories: dict[_KindName, _History] = {}

    async def list(self, kind: type[K], *, namespace: str | None = None) -> Listing[K]:
        """Give all objects of a kind."""
        entries = self._of(kind)
        items = tuple(entries[key].object for key in sorted(entries) if namespace in (None, key.namespace))
        return Listing(items, self._stamp())

    async def get(self, kind: type[K], key: Key) -> K | None:
        """Give one object, or None when it is not there."""
        entry = self._of(kind).get(key)
        return None if entry is None else entry.object

    async def watch(self, kind: type[K], *, since: str, namespace: str | None = None) -> AsyncIterator[Event[K]]:
        """Give every change after `since`, in order, forever. Raises `Gone`."""
        history = self._history(kind)
        position = history.position_after(self._number(since))
        while True:
            while position == history.end:
                await history.grown.wait()
            event = history.at(position)
            position += 1
            if namespace in (None, event.object.key.namespace):
                yield event

    async def apply(self, obj: K, *, owner: str) -> K:
        """Make the object so, status aside. Raises `OwnedByAnother`."""
        _check_namespace(obj)
        entry = self._of(type(obj)).get(obj.key)
        if entry is None:
            return self._create(obj, owner)
        if entry.owner != owner:
            raise OwnedByAnother(kind=obj.KIND, key=obj.key, owner=entry.owner, applied_by=owner)
        old: K = entry.object
        return self._change(obj, old, owner)

    async def retake(self, obj: K, *, owner: str) -> Retaken[K]:
        """Make the object so, status aside, unless another owns it: then it is left whole."""
        entry = self._of(type(obj)).get(obj.key)
        if entry is not None and entry.owner != owner:
            return Retaken(entry.object, (Held("", entry.owner, "apply"),))
        return Retaken(await self.apply(obj, owner=owner), ())

    async def replace(self, obj: K, *, owner: str) -> K:
        """Make the object so, status aside, if it is still at the resource version of `obj`. Raises `Changed`."""
        _check_namespace(obj)
        entry = self._of(type(obj)).get(obj.key)
        if entry is None or entry.object.metadata.resource_version != obj.metadata.resource_version:
            raise Changed(f"{obj.KIND} {obj.key} is not as it was read")
        self._of(type(obj))[obj.key] = _Entry(entry.object, owner)
        old: K = entry.object
        return self._change(obj, old, owner)

    async def delete(self, kind: type[Object], key: Key, *, uid: str | None = None) -> None:
        """Remove the object; with `uid`, only that very one."""
        entry = self._of(kind).get(key)
        if entry is not None and uid in (None, entry.object.metadata.uid):
            self._record(Change.DELETED, entry.object, entry.object.metadata, entry.owner)

    async def end(self, kind: type[Object], key: Key, *, uid: str | None) -> None:
        """Say that an object is to go; whoever uses it deletes it when it may. Once said, it stays so."""
        entry = self._of(kind).get(key)
        if entry is None or entry.object.metadata.uid != uid or entry.object.metadata.deletion_timestamp is not None:
            return
        metadata = msgspec.structs.replace(entry.object.metadata, deletion_timestamp=self._now())
        self._record(Change.MODIFIED, entry.object, metadata, entry.owner)

    async def write_status(self, obj: K) -> K:
        """Replace the status. Raises `NotFound`, also when the object has another uid than the one that is there."""
        if "status" not in obj.__struct_fields__:
            raise CallerError(f"{obj.KIND} has no status")
        entry = self._of(type(obj)).get(obj.key)
        if entry is None or obj.metadata.uid not in (None, entry.object.metadata.uid):
            raise NotFound(f"{obj.KIND} {obj.key} is not there")
        old: K = entry.object
        if _status(old) == _status(obj):
            return old
        return self._record(Change.MODIFIED, _with_status(old, _status(obj)), old.metadata, entry.owner)

    def forget_history(self) -> None:
        """Forget all changes so far; whoever has not seen them is told `Gone`."""
        for history in self._histories.values():
            history.forget(down_to=0)

    def _create(self, obj: K, owner: str) -> K:
        metadata = msgspec.structs.replace(
            obj.metadata,
            uid=self._new_uid(),
            creation_timestamp=self._now(),
            deletion_timestamp=None,
            generation=1,
        )
        return self._record(Change.ADDED, _with_status(obj, _default_status(type(obj))), metadata, owner)

    def _change(self, obj: K, old: K, owner: str) -> K:
        before, after = normal(old), normal(obj)
        if before == after:
            return old
        before.pop("metadata")
        after.pop("metadata")
        metadata = msgspec.structs.replace(
            obj.metadata,
            uid=old.metadata.uid,
            creation_timestamp=old.metadata.creation_timestamp,
            deletion_timestamp=old.metadata.deletion_timestamp,
            generation=(old.metadata.generation or 0) + (before != after),
        )
        return self._record(Change.MODIFIED, _with_status(obj, _status(old)), metadata, owner)

    def _record(self, change: Change, obj: K, metadata: ObjectMeta, owner: str) -> K:
        self._version += 1
        obj = msgspec.structs.replace(obj, metadata=msgspec.structs.replace(metadata, resource_version=self._stamp()))
        entries = self._of(type(obj))
        if change is Change.DELETED:
            del entries[obj.key]
        else:
            entries[obj.key] = _Entry(obj, owner)
        self._history(type(obj)).add(self._version, Event(change, obj))
        return obj

    def _of(self, kind: type[Object]) -> dict[Key, _Entry]:
        return self._entries.setdefault((kind.API_VERSION, kind.KIND), {})

    def _history(self, kind: type[Object]) -> _History:
        return self._histories.setdefault((kind.API_VERSION, kind.KIND), _History(self._history_limit))

    def _stamp(self) -> str:
        return f"{self._epoch}.{self._version}"

    def _number(self, version: str) -> int:
        epoch, _, number = version.rpartition(".")
        if epoch != self._epoch or not number.isdecimal() or int(number) > self._version:
            raise Gone(f"version {version!r} is not of this store")
        return int(number)


def normal(obj: Object) -> dict[str, Any]:
    """Give what an owner wants of an object: plain values without status, the store's own fields, and empty values."""
    plain = encode(obj)
    plain.pop("status", None)
    for name in ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"):
        plain["metadata"].pop(name, None)
    pruned: dict[str, Any] = _prune(plain)
    return pruned


def _prune(value: Any) -> Any:
    if isinstance(value, dict):
        members = {name: _prune(member) for name, member in value.items()}
        return {name: member for name, member in members.items() if member not in (None, "", {}, [])}
    if isinstance(value, list | tuple):
        return [_prune(member) for member in value]
    return value


def _status(obj: Object) -> Any:
    return getattr(obj, "status", None)


def _with_status(obj: K, status: Any) -> K:
    return msgspec.structs.replace(obj, status=status) if "status" in obj.__struct_fields__ else obj


def _default_status(kind: type[Object]) -> Any:
    for field in msgspec.structs.fields(kind):
        if field.name == "status":
            return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return None


def _check_namespace(obj: Object) -> None:
    if bool(obj.metadata.namespace) != obj.NAMESPACED:
        raise CallerError(f"{obj.KIND} {obj.key} {'needs a' if obj.NAMESPACED else 'has no'} namespace")
