"""ext_proc served with grpcio: right in every corner of HTTP/2, at about 0.3 ms of CPU per request.

Rules of this file:

- A stream stays open as long as the answer that it belongs to: thousands are open at once, none of them limited here.
- A stream's session is closed exactly once, whichever of end, reset, error and drain comes first.
- A handler that returns ends its stream with OK. It may return while a read is pending, which grpcio then completes;
  cancelling the read would free memory that grpcio's core still writes to. So messages are read in a task beside it.
- grpcio closes a connection as soon as its last stream has ended after a GOAWAY, and so resets it if something of the
  peer's is on its way. So streams are ended first, and what comes of that is over before grpcio is told to stop.
- Replies leave in the order in which they were given, one at a time, which is all that grpcio can do: those to messages
  and those that a session says later wait in one queue.
- What grpcio's core holds of messages whose end has not come cannot be counted; its windows bound it for each stream.
"""

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc
import grpc.aio

from argosy.api.names import MAX_BODY_BYTES
from argosy.base.errors import PeerError, UserError
from argosy.edge.changing import ChangingFiles
from argosy.edge.rpc.ext_proc import OpenSession, Reply, Session
from argosy.edge.rpc.ext_proc_codec import decode, encode
from argosy.edge.rpc.health import ALWAYS, PICKER_NAMES
from argosy.edge.rpc.health_grpc import health_handler
from argosy.edge.rpc.holding import DEFAULT, Bounds, Holding

SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
_Failure = tuple[grpc.StatusCode, str]
LINGER_S: Final = 0.25
"""How long peers have to take note of the ends of streams."""
_UNLIMITED: Final = 2**31 - 1
_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a second picker on a taken port must fail, not share it
    ("grpc.max_receive_message_length", 2 * MAX_BODY_BYTES),
    ("grpc.max_concurrent_streams", _UNLIMITED),
    # Above 1,000 requests that wait for a handler, grpcio refuses at random; Envoy would send them on unpicked.
    ("grpc.server.max_pending_requests", _UNLIMITED),
    ("grpc.server.max_pending_requests_hard_limit", _UNLIMITED),
    # Envoy pings every 5 s, with streams open and without; the default of 5 minutes answers that with a GOAWAY.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)


def server_credentials(files: ChangingFiles[tuple[bytes, bytes]]) -> grpc.ServerCredentials:
    """Give credentials of a certificate and a key; each new connection gets those that the files hold then."""

    def configuration() -> grpc.ServerCertificateConfiguration:
        certificate, key = files.content
        return grpc.ssl_server_certificate_configuration([(key, certificate)])

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        return configuration() if files.changed() else None

    return grpc.dynamic_ssl_server_credentials(configuration(), fetch)


class _Stream:
    """One stream: its session, what is to be written, and how it is to end."""

    __slots__ = ("begun_s", "over", "replies", "replying_since_s", "session", "writing")
    session: Session

    def __init__(self, now_s: float) -> None:
        self.replies: deque[bytes] = deque()
        self.writing = asyncio.Lock()
        self.over: asyncio.Future[_Failure | None] = asyncio.get_running_loop().create_future()
        self.begun_s = now_s
        self.replying_since_s: float | None = None
        """Since when a reply is being written."""

    @property
    def settled(self) -> bool:
        """Whether ending it with OK harms nothing: what is decided has also been told."""
        return self.session.settled and not self.replies and self.replying_since_s is None

    def end(self, failure: _Failure | None = None) -> None:
        """End it, with OK unless with a failure."""
        if not self.over.done():
            self.over.set_result(failure)

    def end_as(self, conversing: "asyncio.Future[_Failure | None]") -> None:
        """End it as its conversation has ended."""
        if conversing.cancelled():
            self.end()
        elif (error := conversing.exception()) is None:
            self.end(conversing.result())
        else:
            self.break_off(error)

    def break_off(self, error: BaseException) -> None:
        """End it for an error that nobody expected."""
        if not self.over.done():
            self.over.set_exception(error)

    def is_overdue(self, before_s: float) -> bool:
        """Whether what it is decided by should have come, or its peer have taken a reply."""
        is_stuck = self.replying_since_s is not None and self.replying_since_s < before_s
        is_complete = self.session.decided or self.session.waiting
        return is_stuck or (not is_complete and self.begun_s < before_s)


class GrpcServer:
    """A `Server` on grpcio."""

    def __init__(self, open_session: OpenSession, server: grpc.aio.Server, bounds: Bounds) -> None:
        self.port = 0
        self._open_session = open_session
        self._server = server
        self._bounds = bounds
        self._holding = Holding(bounds.held_bytes)
        self._draining = False
        self._streams: set[_Stream] = set()
        self._loop = asyncio.get_running_loop()
        self._looking: asyncio.TimerHandle | None = None

    @property
    def streams(self) -> int:
        """Streams that are open now."""
        return len(self._streams)

    @property
    def held_bytes(self) -> int:
        """What is held for its peers now."""
        return self._holding.held_bytes

    async def start(self) -> None:
        """Begin to serve."""
        await self._server.start()
        self._looking = self._loop.call_later(self._bounds.look_s, self._look)

    async def process(self, _unused: object, context: Any) -> None:
        """Serve one stream (the `Process` method)."""
        traceparent = next((str(value) for name, value in context.invocation_metadata() if name == "traceparent"), "")
        stream = _Stream(self._loop.time())
        say = functools.partial(self._say, stream, context)
        stream.session = self._open_session(self._holding, traceparent, say)
        self._streams.add(stream)
        conversing = asyncio.ensure_future(self._converse(stream, context))
        conversing.add_done_callback(stream.end_as)
        try:
            failure = await stream.over
        finally:
            self._streams.discard(stream)
            stream.session.close()
            self._holding.change(-sum(map(len, stream.replies)))
            stream.replies.clear()
        if failure is not None:
            await context.abort(*failure)

    async def _converse(self, stream: _Stream, context: Any) -> _Failure | None:
        session = stream.session
        try:
            while (data := await context.read()) is not grpc.aio.EOF:
                self._queue(stream, session.receive(decode(data)))
                await self._write(stream, context)
                if self._draining and stream.settled:
                    break
        except PeerError as error:
            return grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except grpc.aio.UsageError:
            # The stream was ended while this read was pending.
            return None
        return None

    def _say(self, stream: _Stream, context: Any, replies: Sequence[Reply]) -> None:
        if stream.over.done():
            return
        try:
            self._queue(stream, replies)
        except Exception as error:  # noqa: BLE001 - it ends the stream, as a mistake in a reply to a message does
            stream.break_off(error)
            return
        speaking = asyncio.ensure_future(self._write(stream, context))
        speaking.add_done_callback(functools.partial(self._said, stream))

    def _said(self, stream: _Stream, speaking: "asyncio.Future[None]") -> None:
        if speaking.cancelled():
            stream.end()
        elif (error := speaking.exception()) is not None:
            stream.break_off(error)
        elif self._draining and stream.settled:
            stream.end()

    def _queue(self, stream: _Stream, replies: Sequence[Reply]) -> None:
        encoded = [encode(reply) for reply in replies]
        self._holding.change(sum(map(len, encoded)))
        stream.replies += encoded

    async def _write(self, stream: _Stream, context: Any) -> None:
        """Write what there is; another's write is waited for, and may have written it all."""
        async with stream.writing:
            while stream.replies:
                stream.replying_since_s = self._loop.time()
                reply = stream.replies.popleft()
                try:
                    await context.write(reply)
                finally:
                    self._holding.change(-len(reply))
            stream.replying_since_s = None

    async def drain(self, grace_s: float) -> None:
        """Take no more streams, end settled ones with OK, give the others `grace_s` to be settled."""
        self._draining = True
        for stream in tuple(self._streams):
            if stream.settled:
                stream.end()
        await asyncio.sleep(LINGER_S)
        await self._server.stop(grace_s)
        if self._looking is not None:
            self._looking.cancel()

    def _look(self) -> None:
        unfinished_s = self._bounds.unfinished_s
        before_s = self._loop.time() - unfinished_s
        for stream in tuple(self._streams):
            if stream.is_overdue(before_s):
                stream.end((grpc.StatusCode.DEADLINE_EXCEEDED, f"unfinished for {unfinished_s:.0f} s"))
        self._looking = self._loop.call_later(self._bounds.look_s, self._look)


async def serve_ext_proc(
    address: str,
    open_session: OpenSession,
    *,
    ready: Callable[[], bool],
    bounds: Bounds = DEFAULT,
    credentials: grpc.ServerCredentials | None = None,
) -> GrpcServer:
    """Serve ext_proc and health at `ip:port`, over TLS with credentials. Raises `UserError`: the address is in use."""
    server = grpc.aio.server(options=_OPTIONS)
    serving = GrpcServer(open_session, server, bounds)
    handlers = {"Process": grpc.stream_stream_rpc_method_handler(serving.process)}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(SERVICE, handlers),
            health_handler(PICKER_NAMES, always=ALWAYS, ready=ready),
        )
    )
    try:
        if credentials is None:
            serving.port = server.add_insecure_port(address)
        else:
            serving.port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise UserError(f"cannot serve ext_proc at {address}: {error}; is the port in use?") from error
    await serving.start()
    return serving
