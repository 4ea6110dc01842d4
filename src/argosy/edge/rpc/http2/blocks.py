"""Header blocks, put together from HEADERS and CONTINUATION (RFC 9113 §4.3, §6.2, §6.10)."""

from argosy.edge.rpc.http2 import frames
from argosy.edge.rpc.http2.frames import ConnectionFault, ErrorCode
from argosy.edge.rpc.http2.limits import Limits

Block = tuple[int, int, bytes]
"""The flags of its HEADERS, its stream, its bytes."""
_PRIORITY_BYTES = 5


class BlockReader:
    """Holds at most one unfinished block, of bounded size and number of parts."""

    __slots__ = ("_flags", "_limits", "_parts", "_stream_id", "held_bytes")

    def __init__(self, limits: Limits) -> None:
        self.held_bytes = 0
        self._limits = limits
        self._flags = self._stream_id = 0
        self._parts: list[bytes] = []

    @property
    def is_inside(self) -> bool:
        """Whether nothing but CONTINUATION may come."""
        return bool(self._parts)

    def begin(self, flags: int, stream_id: int, payload: bytes) -> Block | None:
        """Take HEADERS; give the block when it is whole. Raises `ConnectionFault`."""
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
        if flags & frames.WITH_PRIORITY:
            if len(payload) < _PRIORITY_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without their priority")
            payload = payload[_PRIORITY_BYTES:]
        if flags & frames.END_HEADERS:
            return flags, stream_id, payload
        self._flags, self._stream_id = flags, stream_id
        self._append(payload)
        return None

    def go_on(self, flags: int, stream_id: int, payload: bytes) -> Block | None:
        """Take CONTINUATION; give the block when it is whole. Raises `ConnectionFault`."""
        if not self._parts or self._stream_id != stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._append(payload)
        if not flags & frames.END_HEADERS:
            return None
        block = b"".join(self._parts)
        self.forget()
        return self._flags, stream_id, block

    def forget(self) -> None:
        """Hold nothing."""
        self._parts.clear()
        self.held_bytes = 0

    def _append(self, payload: bytes) -> None:
        self._parts.append(payload)
        self.held_bytes += len(payload)
        if len(self._parts) > self._limits.continuations or self.held_bytes > self._limits.header_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block without end")
