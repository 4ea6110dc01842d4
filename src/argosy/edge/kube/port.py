"""The object store's port: what planning, gateway, picker and local runner need of an API server, and no more.

Rules of this file:

- Objects are read with `list` and `watch`, by kind; a resource version orders all changes of a store and is opaque.
- `apply` writes a whole object, status aside, for one owner; what another owner wants otherwise is refused, and a field
  that its owner wrote before and now leaves out is removed. Nothing changes, and no event is sent, when all that is
  wanted is there already, empty values and defaults aside.
- `retake` is `apply` for whoever makes the object: what a hand changed is restored, what another owner wants otherwise
  is left to that one and named, and all else is written.
- `replace` is for objects that several write by turns: it goes by the resource version that was read, not by owners.
- `write_status` replaces the status alone and is open to any owner: the object's maker and its status writer differ.
- Deleting what is not there is no error: whoever wanted it gone has what they wanted.

    PeerError
    ├── StoreUnavailable   not there, or the connection broke; try again
    │   └── Withheld       there, and does not give this kind to us; that may change
    │       └── NotServed  it gives this kind to nobody
    ├── Gone               the resource version is too old to watch from; list again
    ├── NotFound           a status for an object, or an object for a namespace, that is not there
    ├── Rejected           the store will not have it: invalid, not allowed, over a quota; its words say why
    ├── Changed            the object is not as it was read; read it again
    ├── OwnedByAnother     the object has another owner; carries its name
    └── NotLeading         nothing was sent: this process does not lead, or may have lost its lease
"""

import enum
from collections.abc import AsyncIterator
from typing import Generic, Literal, NamedTuple, Protocol

from argosy.api.objects import K, Key, Object
from argosy.base.errors import PeerError


class StoreUnavailable(PeerError):  # noqa: N818 (named for the state, as the field does)
    """The store cannot be reached."""


class Withheld(StoreUnavailable):
    """The store is there, and does not give this: it does not know the kind, or this user may not read it."""


class NotServed(Withheld):
    """The store is there, and does not know the kind."""


class Gone(PeerError):  # noqa: N818
    """History before this resource version has been forgotten: list, then watch from there."""


class NotFound(PeerError):  # noqa: N818
    """There is no such object."""


class Rejected(PeerError):  # noqa: N818
    """The store refuses what is asked, and would again; the message is its own."""


class Changed(PeerError):  # noqa: N818 (named for the state)
    """The object is another than the one that was read."""


class OwnedByAnother(PeerError):  # noqa: N818
    """Somebody else owns the object."""

    def __init__(self, *, kind: str, key: Key, owner: str, applied_by: str) -> None:
        super().__init__(f"{kind} {key} belongs to {owner!r}; {applied_by!r} may not change it")
        self.owner = owner


class NotLeading(PeerError):  # noqa: N818 (named for the state)
    """The write was not sent: another process may lead by now."""


class Change(enum.Enum):
    """What happened to an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Event(NamedTuple, Generic[K]):
    """One change; `object` is the state after it (before it, when deleted)."""

    change: Change
    object: K


class Listing(NamedTuple, Generic[K]):
    """All objects of a kind at one resource version, ordered by namespace and name."""

    items: tuple[K, ...]
    resource_version: str


class Held(NamedTuple):
    """A field that was left to somebody else, who wants it otherwise.

    `field` is its path, as `spec.replicas` (empty: the whole object); `how` says whether its holder applies it or
    scales the object through the scale subresource.
    """

    field: str
    holder: str
    how: Literal["apply", "scale"]


class Retaken(NamedTuple, Generic[K]):
    """The object as it is then, and what of it was left to others, ordered by field."""

    object: K
    held: tuple[Held, ...]


class ObjectStore(Protocol):
    """Lists, watches and writes objects."""

    async def list(self, kind: type[K], *, namespace: str | None = None) -> Listing[K]:
        """Give all objects of a kind."""

    async def get(self, kind: type[K], key: Key) -> K | None:
        """Give one object, or None when it is not there."""

    def watch(self, kind: type[K], *, since: str, namespace: str | None = None) -> AsyncIterator[Event[K]]:
        """Give every change after `since`, in order, until the connection ends. Raises `Gone`."""

    async def apply(self, obj: K, *, owner: str) -> K:
        """Make the object so, status aside; gives it as it is then. Raises `OwnedByAnother`."""

    async def retake(self, obj: K, *, owner: str) -> Retaken[K]:
        """Make the object so, status aside, but for what others hold. A hand's changes of what is wanted are undone."""

    async def replace(self, obj: K, *, owner: str) -> K:
        """Make the object so, status aside, if it is still at the uid and resource version of `obj`.

        It is `owner`'s then. Raises `Changed`.
        """

    async def delete(self, kind: type[Object], key: Key, *, uid: str | None = None) -> None:
        """Remove the object; with `uid`, only that very one."""

    async def write_status(self, obj: K) -> K:
        """Replace the status of an object. Raises `NotFound`."""
