"""Requests out of header blocks.

Rules of this file:

- A proxy sends the same block for request after request once its names are in the table. A block that did not change
  the table is read once and remembered until the table changes.
- What RFC 9113 §8 calls malformed ends its stream; the connection goes on.
"""

from typing import Final

import msgspec

from argosy.edge.rpc.http2.frames import ErrorCode, StreamFault
from argosy.edge.rpc.http2.hpack import Decoder, Header

_REMEMBERED: Final = 64
_PSEUDO: Final = frozenset((b":method", b":scheme", b":path", b":authority"))
_OF_THE_CONNECTION: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The head of a request; `headers` are without the pseudo-headers, in the order in which they came."""

    method: str
    path: str
    headers: tuple[Header, ...]


class RequestReader:
    """Reads the header blocks of one connection."""

    __slots__ = ("_changes", "_decoder", "_known")

    def __init__(self, max_list_bytes: int) -> None:
        self._decoder = Decoder(max_list_bytes)
        self._changes = 0
        self._known: dict[bytes, Request] = {}

    @property
    def held_bytes(self) -> int:
        """The size of the dynamic table."""
        return self._decoder.held_bytes

    def request(self, block: bytes) -> Request:
        """Read a request. Raises `StreamFault` for a malformed one, `ConnectionFault` for a block that is none."""
        decoder = self._decoder
        if decoder.changes != self._changes:
            self._known.clear()
            self._changes = decoder.changes
        known = self._known.get(block)
        if known is not None:
            return known
        headers = decoder.decode(block)
        if headers is None:
            raise StreamFault(ErrorCode.ENHANCE_YOUR_CALM, "too many headers")
        request = request_of(headers)
        if decoder.changes == self._changes:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[block] = request
        return request

    def skip(self, block: bytes) -> None:
        """Read a block that nobody looks at. Raises `ConnectionFault`."""
        self._decoder.decode(block)


def request_of(headers: tuple[Header, ...]) -> Request:
    """Give the request of a list of headers. Raises `StreamFault` when it is malformed (RFC 9113 §8.2, §8.3)."""
    pseudo: dict[bytes, bytes] = {}
    fields: list[Header] = []
    for name, value in headers:
        if name.startswith(b":"):
            if fields or name in pseudo or name not in _PSEUDO:
                raise _malformed(f"{name!r} where it must not be")
            pseudo[name] = value
            continue
        if name != name.lower() or not name or name in _OF_THE_CONNECTION:
            raise _malformed(f"a header {name!r}")
        if name == b"te" and value != b"trailers":
            raise _malformed(f"te: {value!r}")
        fields.append((name, value))
    if not (b":method" in pseudo and b":scheme" in pseudo and pseudo.get(b":path")):
        raise _malformed("no :method, :scheme or :path")
    return Request(
        method=pseudo[b":method"].decode("latin-1"), path=pseudo[b":path"].decode("latin-1"), headers=tuple(fields)
    )


def _malformed(why: str) -> StreamFault:
    return StreamFault(ErrorCode.PROTOCOL_ERROR, f"malformed request: {why}")
