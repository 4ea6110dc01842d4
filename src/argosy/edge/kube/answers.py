"""What an API server answers → objects, straight from its JSON.

Rules of this file:

- What we do not read, `managedFields` above all, is never made into values: it is most of an answer, and a list of
  thousands of objects would cost ten times the memory that they take.
- An object that does not decode is logged and left out: a stranger's odd object hides nothing else.
"""

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Generic

import msgspec

from argosy.api.objects import K, Object, decode
from argosy.edge.kube.port import StoreUnavailable

_log: Final = logging.getLogger(__name__)


class ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    """The version of a list, and the token of its next page, empty when this is the last."""

    resource_version: str
    token: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, Generic[K], frozen=True):
    """A page of a list."""

    metadata: ListMeta
    items: tuple[K, ...] | None = None


class _RawPage(msgspec.Struct, frozen=True):
    metadata: ListMeta
    items: list[dict[str, Any]] | None = None


class Line(msgspec.Struct, frozen=True):
    """A line of a watch; what `object` is depends on `type`."""

    type: str
    object: msgspec.Raw


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str


class _Bookmark(msgspec.Struct, frozen=True):
    metadata: _Meta


def page_of(kind: type[K], content: bytes) -> Page[K]:
    """Read a page. Raises `msgspec.DecodeError`."""
    try:
        page: Page[K] = _page_decoder(kind).decode(content)
    except msgspec.ValidationError:
        raw = msgspec.json.decode(content, type=_RawPage)
        return Page(raw.metadata, tuple(_readable(kind, raw.items or ())))
    return page


def line_of(content: bytes) -> Line:
    """Read a line of a watch. Raises `msgspec.DecodeError`."""
    return msgspec.json.decode(content, type=Line)


def object_of(kind: type[K], content: msgspec.Raw) -> K | None:
    """Read an object; None when it is one of those that are left out. Raises `msgspec.DecodeError`."""
    try:
        found: K = _decoder(kind).decode(content)
    except msgspec.ValidationError:
        return next(_readable(kind, [msgspec.json.decode(content)]), None)
    return found


def bookmark_of(content: msgspec.Raw) -> str:
    """Read the resource version of a bookmark. Raises `msgspec.DecodeError`."""
    return msgspec.json.decode(content, type=_Bookmark).metadata.resource_version


def understood(kind: type[K], raw: Mapping[str, Any]) -> K:
    """Give an object that was asked for. Raises `StoreUnavailable` when it cannot be read."""
    try:
        return decode(kind, raw)
    except msgspec.ValidationError as error:
        raise StoreUnavailable(f"{kind.KIND} {raw['metadata']['name']} cannot be read: {error}") from error


@functools.cache
def _decoder(kind: type[Object]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


@functools.cache
def _page_decoder(kind: type[Object]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(Page[kind])  # type: ignore[valid-type]  # a type that is a value


def _readable(kind: type[K], raw: Sequence[Mapping[str, Any]]) -> Iterator[K]:
    for item in raw:
        try:
            yield decode(kind, item)
        except msgspec.ValidationError as error:
            metadata = item["metadata"]
            _log.warning("%s %s/%s is left out: %s", kind.KIND, metadata.get("namespace"), metadata["name"], error)
