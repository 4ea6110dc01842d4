"""ext_proc served with grpcio: right in every corner of HTTP/2, at about 0.3 ms of CPU per request.

Rules of this file:

- A stream stays open as long as the answer that it belongs to: thousands are open at once, none of them limited here.
- A stream's session is closed exactly once, whichever of end, reset, error and drain comes first.
- A handler that returns ends its stream with OK. It may return while a read is pending, which grpcio then completes;
  cancelling the read would free memory that grpcio's core still writes to. So messages are read in a task beside it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import grpc
import grpc.aio

from argosy.api.names import MAX_BODY_BYTES
from argosy.base.errors import PeerError, UserError
from argosy.edge.rpc.ext_proc import Session
from argosy.edge.rpc.ext_proc_codec import decode, encode
from argosy.edge.rpc.health import health_handler

SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
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


class GrpcServer:
    """A `Server` on grpcio."""

    def __init__(self, open_session: Callable[[], Session], server: grpc.aio.Server) -> None:
        self.port = 0
        self._open_session = open_session
        self._server = server
        self._draining = False
        self._streams: dict[asyncio.Future[None], Session] = {}

    @property
    def streams(self) -> int:
        """Streams that are open now."""
        return len(self._streams)

    async def process(self, _unused: object, context: Any) -> None:
        """Serve one stream (the `Process` method)."""
        session = self._open_session()
        over = asyncio.get_running_loop().create_future()
        self._streams[over] = session
        conversing = asyncio.ensure_future(self._converse(session, context))
        conversing.add_done_callback(lambda _done: _end(over))
        try:
            await over
        finally:
            del self._streams[over]
            session.close()
        if conversing.done() and (error := conversing.result()) is not None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    async def _converse(self, session: Session, context: Any) -> PeerError | None:
        try:
            while (data := await context.read()) is not grpc.aio.EOF:
                await context.write(encode(session.receive(decode(data))))
                if self._draining and session.settled:
                    break
        except PeerError as error:
            return error
        except grpc.aio.UsageError:
            # The stream was ended while this read was pending.
            return None
        return None

    async def drain(self, grace_s: float) -> None:
        """Take no more streams, end settled ones with OK, give the others `grace_s` to be settled."""
        self._draining = True
        stopped = asyncio.ensure_future(self._server.stop(grace_s))
        for over, session in tuple(self._streams.items()):
            if session.settled:
                _end(over)
        await stopped


def _end(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)


async def serve_ext_proc(address: str, open_session: Callable[[], Session], *, ready: Callable[[], bool]) -> GrpcServer:
    """Serve ext_proc and health at `ip:port`. Raises `UserError` when the address cannot be used."""
    server = grpc.aio.server(options=_OPTIONS)
    serving = GrpcServer(open_session, server)
    handlers = {"Process": grpc.stream_stream_rpc_method_handler(serving.process)}
    names = ("", "readiness", "liveness", SERVICE)
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(SERVICE, handlers),
            health_handler(names, always=("liveness",), ready=ready),
        )
    )
    try:
        serving.port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise UserError(f"cannot serve ext_proc at {address}: {error}; is the port in use?") from error
    await server.start()
    return serving
