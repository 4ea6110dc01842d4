"""gRPC over HTTP/2, sans IO: messages out of a stream's data, and the header blocks of answers.

Source: grpc/grpc, doc/PROTOCOL-HTTP2.md.
"""

import enum
import urllib.parse
from collections.abc import Iterator
from typing import Final

from argosy.base.errors import PeerError
from argosy.edge.rpc.http2.hpack import Header, encoded

CONTENT_TYPE: Final = b"application/grpc"
PREFIX_BYTES: Final = 5
_LARGE_BYTES: Final = 4096
_DETAIL_BYTES: Final = 1000
_HEAD: Final[tuple[Header, ...]] = ((b":status", b"200"), (b"content-type", CONTENT_TYPE))


class Status(enum.IntEnum):
    """How a call ends; those that we give."""

    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class BadCall(PeerError):  # noqa: N818 (named for what it is)
    """A call that breaks gRPC, and what it ends with."""

    def __init__(self, status: Status, why: str) -> None:
        super().__init__(why)
        self.status = status


class MessageReader:
    """Puts the messages of one stream together."""

    __slots__ = ("_max_bytes", "_needed", "_parts", "held_bytes")

    def __init__(self, max_bytes: int) -> None:
        self.held_bytes = 0
        self._parts: list[bytes] = []
        self._needed = PREFIX_BYTES
        self._max_bytes = max_bytes

    def messages(self, data: bytes) -> Iterator[bytes | memoryview]:
        """Give the messages that are whole with this data, large ones as views. Raises `BadCall`."""
        self._parts.append(data)
        self.held_bytes += len(data)
        while self.held_bytes >= self._needed:
            held = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            size = PREFIX_BYTES + int.from_bytes(held[1:PREFIX_BYTES], "big")
            if held[0]:
                raise BadCall(Status.UNIMPLEMENTED, "compressed messages are not read")
            if size > self._max_bytes:
                raise BadCall(Status.RESOURCE_EXHAUSTED, f"a message of {size} bytes; {self._max_bytes} are taken")
            if len(held) < size:
                self._parts, self._needed = [held], size
                return
            self._parts, self._needed = [held[size:]], PREFIX_BYTES
            self.held_bytes -= size
            yield memoryview(held)[PREFIX_BYTES:size] if size > _LARGE_BYTES else held[PREFIX_BYTES:size]


def framed(message: bytes) -> bytes:
    """Give a message as it goes on the wire."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def trailers(status: Status, why: str = "") -> bytes:
    """Give the header block that ends an answer."""
    return encoded(_status(status, why))


def only_trailers(status: Status, why: str = "") -> bytes:
    """Give the header block of an answer that is nothing but its end."""
    return encoded((*_HEAD, *_status(status, why)))


def _status(status: Status, why: str) -> tuple[Header, ...]:
    number = (b"grpc-status", b"%d" % status)
    if not why:
        return (number,)
    words = urllib.parse.quote(why[:_DETAIL_BYTES], safe=" !#$&'()*+,/:;<=>?@[]^_`{|}~\"\\-.")
    return number, (b"grpc-message", words.encode())


HEAD: Final = encoded(_HEAD)
END_OK: Final = trailers(Status.OK)
END_OK_ALONE: Final = only_trailers(Status.OK)
