"""The sending side: what may go out now, and what waits for window (RFC 9113 §5.2, §6.9).

Rules of this file:

- Of one stream everything goes out in order: headers and the end wait behind data that waits.
- A stream waits for its own window (then it is in no list), or for the connection's (then it is in `_ready`, which is
  served in turns): giving window costs no more than the bytes that it lets out.
- What waits is counted in `queued_bytes`; whoever calls keeps it below a limit.
"""

from collections import deque
from typing import Final

from argosy.base.errors import CallerError
from argosy.edge.rpc.http2.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    LARGEST_WINDOW,
    SMALLEST_MAX_FRAME,
    ConnectionFault,
    ErrorCode,
    StreamFault,
    frame,
    frame_header,
)

TURN_BYTES: Final = 65_536
"""What one stream sends before another has its turn."""


class Stream:
    """One stream, both sides of it."""

    __slots__ = ("answered", "credit", "id", "moved_s", "peer_ended", "queue", "queued_bytes", "spent", "window")

    def __init__(self, stream_id: int, window: int, credit: int) -> None:
        self.id = stream_id
        self.window = window
        """What we may send."""
        self.credit = credit
        """What the peer may send."""
        self.spent = 0
        """What it sent since it was last given credit."""
        self.peer_ended = False
        self.answered = False
        """Whether we have sent a head."""
        self.queue: deque[bytes | tuple[bytes]] = deque()
        """Data that waits; last, in a tuple, the block of trailers."""
        self.queued_bytes = 0
        self.moved_s = 0.0
        """When its queue last became shorter, or began."""


class Outbox:
    """Bytes to be sent on one connection."""

    def __init__(self) -> None:
        self.initial_window = DEFAULT_WINDOW
        self.max_frame = SMALLEST_MAX_FRAME
        self.queued_bytes = 0
        self.waiting: dict[int, Stream] = {}
        """Streams of which something waits."""
        self.ended: list[Stream] = []
        """Streams whose end has gone out since somebody looked."""
        self.now_s = 0.0
        self._window = DEFAULT_WINDOW
        self._ready: dict[int, Stream] = {}
        self._out: list[bytes] = []

    def take(self) -> bytes:
        """Give what is to be sent, once."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def put(self, written: bytes) -> None:
        """Send a frame that no window holds back."""
        self._out.append(written)

    def headers(self, stream: Stream, block: bytes) -> None:
        """Send headers, before any data. Raises `CallerError` for a block that needs more than one frame."""
        if len(block) > SMALLEST_MAX_FRAME or stream.queue:
            raise CallerError("headers behind data, or too large")
        self._out.append(frame(HEADERS, END_HEADERS, stream.id, block))

    def data(self, stream: Stream, data: bytes) -> None:
        """Send data as the windows allow."""
        size = len(data)
        if not size:
            return
        if not stream.queue and size <= stream.window and size <= self._window and size <= self.max_frame:
            stream.window -= size
            self._window -= size
            self._out += (frame_header(DATA, 0, stream.id, size), data)
            return
        self._wait(stream, data, size)

    def end(self, stream: Stream, trailers: bytes) -> None:
        """End the stream with trailers, behind its data."""
        if stream.queue:
            self._wait(stream, (trailers,), 0)
        else:
            self._end(stream, trailers)

    def forget(self, stream: Stream) -> None:
        """Send nothing of what waits."""
        self.queued_bytes -= stream.queued_bytes
        stream.queued_bytes = 0
        stream.queue.clear()
        self.waiting.pop(stream.id, None)
        self._ready.pop(stream.id, None)

    def widen(self, stream: Stream, credit: int) -> None:
        """Take window for a stream. Raises `StreamFault` for more than there can be."""
        if stream.window + credit > LARGEST_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "a window above 2**31 - 1")
        stream.window += credit
        if stream.queue and stream.window > 0:
            self._ready[stream.id] = stream
            self._flush()

    def widen_connection(self, credit: int) -> None:
        """Take window for the connection. Raises `ConnectionFault`."""
        if self._window + credit > LARGEST_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window above 2**31 - 1")
        self._window += credit
        self._flush()

    def change_initial_window(self, size: int, streams: dict[int, Stream]) -> None:
        """Take a new size for streams, also for those that are open: their windows may fall below zero."""
        change, self.initial_window = size - self.initial_window, size
        for stream in streams.values():
            if stream.window + change > LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window above 2**31 - 1")
            stream.window += change
            if stream.queue and stream.window > 0:
                self._ready[stream.id] = stream
        self._flush()

    def _wait(self, stream: Stream, what: bytes | tuple[bytes], size: int) -> None:
        if not stream.queue:
            stream.moved_s = self.now_s
            self.waiting[stream.id] = stream
        if isinstance(what, bytes):
            # Pieces, because what is left of one that was sent in part is copied.
            stream.queue.extend(what[at : at + TURN_BYTES] for at in range(0, size, TURN_BYTES))
        else:
            stream.queue.append(what)
        stream.queued_bytes += size
        self.queued_bytes += size
        if stream.window > 0:
            self._ready[stream.id] = stream
            self._flush()

    def _flush(self) -> None:
        while self._ready and self._window > 0:
            stream = self._ready.pop(next(iter(self._ready)))
            if self._turn(stream):
                self._ready[stream.id] = stream

    def _turn(self, stream: Stream) -> bool:
        """Send a turn's worth of a stream; say whether it could send more."""
        turn = TURN_BYTES
        stream.moved_s = self.now_s
        while stream.queue:
            first = stream.queue[0]
            if isinstance(first, tuple):
                self.forget(stream)
                self._end(stream, first[0])
                return False
            size = min(len(first), stream.window, self._window, self.max_frame, turn)
            if size <= 0 < len(first):
                return stream.window > 0
            self._out += (frame_header(DATA, 0, stream.id, size), first[:size])
            stream.window -= size
            self._window -= size
            turn -= size
            self._shorten(stream, first, size)
        self.forget(stream)
        return False

    def _shorten(self, stream: Stream, first: bytes, size: int) -> None:
        stream.queued_bytes -= size
        self.queued_bytes -= size
        if size == len(first):
            stream.queue.popleft()
        else:
            stream.queue[0] = first[size:]

    def _end(self, stream: Stream, trailers: bytes) -> None:
        self._out.append(frame(HEADERS, END_HEADERS | END_STREAM, stream.id, trailers))
        self.ended.append(stream)
