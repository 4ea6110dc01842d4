"""A request body that comes in chunks, held until it is whole; and given on in chunks as it came.

Rules of this file:

- Every byte that is held is counted in the server's `Holding`, once, and counted out when the body is given or dropped.
- What is held is one array of bytes: a body of tiny chunks costs no more than another.
"""

import enum
from collections.abc import Iterator
from typing import Final

from argosy.api.names import MAX_BODY_BYTES
from argosy.edge.rpc.ext_proc import BodyChunk, Phase
from argosy.edge.rpc.holding import Holding

CHUNK_BYTES: Final = 62_000
"""The largest chunk that is given on: what Envoy takes in one message for sure, and what llm-d's router sends."""


class Room(enum.Enum):
    """What came of a chunk."""

    HELD = "held"
    TOO_LARGE = "the body is too large"
    NONE = "there is no room for it now"


class GatheredBody:
    """What has come of a body."""

    __slots__ = ("_body", "_holding")

    def __init__(self, holding: Holding) -> None:
        self._body = bytearray()
        self._holding = holding

    def add(self, chunk: bytes) -> Room:
        """Hold one more chunk, if there is room."""
        if len(self._body) + len(chunk) > MAX_BODY_BYTES:
            return Room.TOO_LARGE
        if not self._holding.has_room(len(chunk)):
            return Room.NONE
        self._holding.change(len(chunk))
        self._body += chunk
        return Room.HELD

    def take(self) -> bytes:
        """Give the body and hold nothing any more."""
        body = bytes(self._body)
        self.drop()
        return body

    def drop(self) -> None:
        """Hold nothing any more."""
        self._holding.change(-len(self._body))
        self._body = bytearray()


def chunks_of(body: bytes, *, end_of_stream: bool) -> Iterator[BodyChunk]:
    """Cut a body; the last chunk says that it is the end, if it is. An empty body has a chunk only to say so."""
    if len(body) <= CHUNK_BYTES:
        if body or end_of_stream:
            yield BodyChunk(phase=Phase.REQUEST_BODY, body=body, end_of_stream=end_of_stream)
        return
    for at in range(0, len(body), CHUNK_BYTES):
        is_last = at + CHUNK_BYTES >= len(body)
        piece = body[at : at + CHUNK_BYTES]
        yield BodyChunk(phase=Phase.REQUEST_BODY, body=piece, end_of_stream=end_of_stream and is_last)
