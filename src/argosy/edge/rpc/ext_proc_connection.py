"""ext_proc and gRPC health on one HTTP/2 connection, sans IO: bytes and the time in, sessions told, bytes out.

Rules of this file:

- What is written in answer to one read is one write, whatever it holds. What a session says later is one too.
- A session is closed exactly once: when its stream ends, by whom or what ever.
- A fault of one stream, the peer's or our own, ends that stream alone.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from argosy.api.names import MAX_BODY_BYTES
from argosy.base.errors import PeerError
from argosy.edge.rpc import health
from argosy.edge.rpc.ext_proc import OpenSession, Reply, Session
from argosy.edge.rpc.ext_proc_codec import decode, encode
from argosy.edge.rpc.holding import DEFAULT, Bounds, Holding
from argosy.edge.rpc.http2 import grpc
from argosy.edge.rpc.http2.connection import ServerConnection
from argosy.edge.rpc.http2.events import ConnectionBroken, DataCame, Event, RequestBegan, StreamBroken
from argosy.edge.rpc.http2.frames import ErrorCode
from argosy.edge.rpc.http2.grpc import BadCall, MessageReader, Status
from argosy.edge.rpc.http2.limits import DEFAULT as DEFAULT_LIMITS
from argosy.edge.rpc.http2.limits import Limits

log = logging.getLogger(__name__)
PROCESS: Final = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
CHECK: Final = f"/{health.SERVICE}/Check"
MAX_MESSAGE_BYTES: Final = 2 * MAX_BODY_BYTES


class _Call(Protocol):
    """What takes a stream's messages."""

    @property
    def complete(self) -> bool:
        """Whether it needs nothing more of its peer for what it was opened for."""

    @property
    def settled(self) -> bool:
        """Whether ending it with OK harms nothing."""

    def replies(self, message: bytes | memoryview) -> Sequence[bytes]:
        """Take a message, give what is replied. Raises `PeerError`."""

    def close(self) -> None:
        """Take note of the end."""


class _Processing:
    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def complete(self) -> bool:
        return self._session.decided or self._session.waiting

    @property
    def settled(self) -> bool:
        return self._session.settled

    def replies(self, message: bytes | memoryview) -> Sequence[bytes]:
        return [encode(reply) for reply in self._session.receive(decode(message))]

    def close(self) -> None:
        self._session.close()


class _Checking:
    __slots__ = ("_ready", "complete")

    def __init__(self, ready: Callable[[], bool]) -> None:
        self.complete = False
        self._ready = ready

    @property
    def settled(self) -> bool:
        return self.complete

    def replies(self, message: bytes | memoryview) -> Sequence[bytes]:
        try:
            name = StringValue.FromString(message).value
        except DecodeError as error:
            raise PeerError("not a HealthCheckRequest") from error
        if name not in health.PICKER_NAMES:
            raise BadCall(Status.NOT_FOUND, f"no service {name!r} here")
        self.complete = True
        serving = name in health.ALWAYS or self._ready()
        return (bytes(Int32Value(value=health.SERVING if serving else health.NOT_SERVING).SerializeToString()),)

    def close(self) -> None:
        """Nothing was opened."""


class _Stream:
    __slots__ = ("answered", "begun_s", "call", "held_bytes", "read_s", "reader")

    def __init__(self, call: _Call, begun_s: float) -> None:
        self.call = call
        self.reader = MessageReader(MAX_MESSAGE_BYTES)
        self.held_bytes = 0
        """What of `reader` is counted."""
        self.answered = False
        self.begun_s = self.read_s = begun_s
        """When it was opened, and when its unfinished message began at the latest."""

    def is_overdue(self, before_s: float) -> bool:
        """Whether what it is decided by should have come, or its message have come whole."""
        return (not self.call.complete and self.begun_s < before_s) or (self.held_bytes > 0 and self.read_s < before_s)


class ExtProcConnection:
    """One connection of a proxy; what it holds is counted in `holding`.

    `spoken` is called when a session has said something otherwise than in answer to what was received.
    """

    def __init__(
        self,
        open_session: OpenSession,
        ready: Callable[[], bool],
        *,
        spoken: Callable[[], None] = lambda: None,
        holding: Holding | None = None,
        bounds: Bounds = DEFAULT,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._spoken = spoken
        self.http2 = ServerConnection(limits)
        self._holding = holding or Holding(bounds.held_bytes)
        self._bounds = bounds
        self._counted_bytes = 0
        """What of `http2` is counted."""
        self._open_session = open_session
        self._ready = ready
        self._streams: dict[int, _Stream] = {}
        self._draining = False

    @property
    def streams(self) -> int:
        """ext_proc streams that are open."""
        return sum(isinstance(stream.call, _Processing) for stream in self._streams.values())

    @property
    def over(self) -> bool:
        """Whether it is to be closed once everything is sent."""
        return self.http2.failed or (self._draining and (self.http2.drained or not self.http2.is_introduced))

    def take(self) -> bytes:
        """Give what is to be sent now, once."""
        return self.http2.take()

    def receive(self, data: bytes, now_s: float) -> None:
        """Take bytes of the peer."""
        for event in self.http2.receive(data, now_s):
            self._take(event, now_s)
        self._count()

    def drain(self) -> None:
        """Ask for no more streams; end those with OK that are settled, and the others as soon as they are."""
        self._draining = True
        self.http2.drain()
        for stream_id, stream in tuple(self._streams.items()):
            if stream.call.settled:
                self._end(stream_id)

    def stop(self) -> None:
        """End every stream."""
        for stream_id in tuple(self._streams):
            self._end(stream_id, Status.UNAVAILABLE, "the picker is ending")
        self.http2.refuse_more()

    def give_up(self, now_s: float) -> None:
        """End streams whose peer is silent for too long before they are decided, or takes nothing."""
        unfinished_s = self._bounds.unfinished_s
        before_s = now_s - unfinished_s
        for event in self.http2.break_stalled(now_s, unfinished_s):
            self._take(event, now_s)
        for stream_id, stream in tuple(self._streams.items()):
            if stream.is_overdue(before_s):
                self._end(stream_id, Status.DEADLINE_EXCEEDED, f"unfinished for {unfinished_s:.0f} s")
        self._count()

    def lose(self) -> None:
        """Take note that the connection is gone."""
        for stream_id in tuple(self._streams):
            self._close(stream_id)
        self._holding.change(-self._counted_bytes)
        self._counted_bytes = 0

    def _count(self) -> None:
        held = self.http2.held_bytes
        if held != self._counted_bytes:
            self._holding.change(held - self._counted_bytes)
            self._counted_bytes = held

    def _take(self, event: Event, now_s: float) -> None:
        match event:
            case DataCame():
                self._read(event, now_s)
            case RequestBegan():
                self._begin(event, now_s)
            case StreamBroken():
                self._close(event.stream_id)
            case ConnectionBroken():
                self.lose()

    def _begin(self, event: RequestBegan, now_s: float) -> None:
        request = event.request
        headers = dict(request.headers)
        if request.method != "POST" or not headers.get(b"content-type", b"").startswith(grpc.CONTENT_TYPE):
            self._refuse(event.stream_id, "gRPC is served here, nothing else")
        elif request.path == PROCESS:
            traceparent = headers.get(b"traceparent", b"").decode("ascii", "replace")
            session = self._open_session(self._holding, traceparent, functools.partial(self._say, event.stream_id))
            self._streams[event.stream_id] = _Stream(_Processing(session), now_s)
        elif request.path == CHECK:
            self._streams[event.stream_id] = _Stream(_Checking(self._ready), now_s)
        else:
            self._refuse(event.stream_id, f"no method {request.path[:200]} here")
        if event.ended and event.stream_id in self._streams:
            self._end(event.stream_id)

    def _refuse(self, stream_id: int, why: str) -> None:
        self.http2.end(stream_id, grpc.only_trailers(Status.UNIMPLEMENTED, why))

    def _read(self, event: DataCame, now_s: float) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        if not stream.held_bytes:
            stream.read_s = now_s
        # What becomes whole now is the session's to count.
        self._count_unfinished(stream, 0)
        self._answer_all(event, stream, now_s)
        if event.stream_id not in self._streams:
            return
        self._count_unfinished(stream, stream.reader.held_bytes)
        if event.ended:
            self._end(event.stream_id)
        elif stream.held_bytes and self._holding.is_over:
            self._end(event.stream_id, Status.RESOURCE_EXHAUSTED, "too many bytes are held for unfinished requests")

    def _count_unfinished(self, stream: _Stream, held_bytes: int) -> None:
        if held_bytes != stream.held_bytes:
            self._holding.change(held_bytes - stream.held_bytes)
            stream.held_bytes = held_bytes

    def _answer_all(self, event: DataCame, stream: _Stream, now_s: float) -> None:
        try:
            for message in stream.reader.messages(event.data):
                stream.read_s = now_s
                if not self._answer(event.stream_id, stream, message):
                    break
        except BadCall as bad:
            self._end(event.stream_id, bad.status, str(bad))
        except PeerError as error:
            self._end(event.stream_id, Status.INVALID_ARGUMENT, str(error))
        except Exception:
            # A mistake of ours about one request must not cut thousands of others off.
            log.exception("a stream ended by a mistake of ours")
            self._end(event.stream_id, Status.INTERNAL, "a mistake in the picker")

    def _answer(self, stream_id: int, stream: _Stream, message: bytes | memoryview) -> bool:
        """Answer a message; say whether the stream goes on."""
        return self._send(stream_id, stream, stream.call.replies(message))

    def _say(self, stream_id: int, replies: Sequence[Reply]) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        try:
            self._send(stream_id, stream, [encode(reply) for reply in replies])
        except Exception:
            log.exception("a stream ended by a mistake of ours")
            self._end(stream_id, Status.INTERNAL, "a mistake in the picker")
        self._count()
        self._spoken()

    def _send(self, stream_id: int, stream: _Stream, replies: Sequence[bytes]) -> bool:
        """Send replies; say whether the stream goes on."""
        for reply in replies:
            if not stream.answered:
                stream.answered = True
                self.http2.send_headers(stream_id, grpc.HEAD)
            if not self.http2.send_data(stream_id, grpc.framed(reply)) or self._is_left_lying(stream_id):
                self._close(stream_id)
                return False
        if self._draining and stream.call.settled:
            self._end(stream_id)
        return stream_id in self._streams

    def _is_left_lying(self, stream_id: int) -> bool:
        """Break a stream off whose peer takes nothing while too much is held; say whether it was."""
        if not self.http2.waiting_bytes(stream_id):
            return False
        self._count()
        if not self._holding.is_over:
            return False
        self.http2.reset(stream_id, ErrorCode.ENHANCE_YOUR_CALM)
        return True

    def _end(self, stream_id: int, status: Status = Status.OK, why: str = "") -> None:
        block = grpc.trailers if self._streams[stream_id].answered else grpc.only_trailers
        self.http2.end(stream_id, block(status, why))
        self._close(stream_id)

    def _close(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._count_unfinished(stream, 0)
            stream.call.close()
