"""ext_proc served by our own HTTP/2 on asyncio: a fraction of grpcio's cost, one write for what one read leads to.

Rules of this file:

- Who does not take what we write is not read from: so what waits for a peer stays within what the kernel and one read
  make. Who takes nothing for long is cut off.
- A new connection is shown the certificate that the files hold then.
- Who is said goodbye to closes the connection. If we closed it while something of theirs is on its way, the kernel
  would answer that with a reset, and Envoy drops what it has not read by then: ends with OK among it.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Final, cast

from argosy.base.errors import UserError
from argosy.edge.changing import ChangingFiles
from argosy.edge.rpc.ext_proc import OpenSession
from argosy.edge.rpc.ext_proc_connection import ExtProcConnection
from argosy.edge.rpc.holding import DEFAULT, Bounds, Holding

BACKLOG: Final = 4096
HELLO_S: Final = 10.0
"""How long a client may take to say that it speaks HTTP/2."""
LINGER_S: Final = 1.0
"""How long a peer may take to close a connection that is over."""
STUCK_S: Final = 60.0
"""How long a connection may take nothing of what waits for it."""


class _Protocol(asyncio.Protocol):
    """Carries bytes between a socket and an `ExtProcConnection`."""

    def __init__(self, server: "Http2Server") -> None:
        self.connection = server.connection(spoken=self.flush)
        self.transport: asyncio.Transport | None = None
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._since_s = self._loop.time()
        self._is_stuck = False
        self._stuck_bytes = 0
        self._lingering: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self._server.protocols.add(self)
        if self._server.draining:
            self.connection.drain()
        self.flush()

    def data_received(self, data: bytes) -> None:
        if self._lingering is not None:
            return
        self.connection.receive(data, self._loop.time())
        self.flush()

    def pause_writing(self) -> None:
        self._is_stuck, self._since_s = True, self._loop.time()
        if self.transport is not None:
            self.transport.pause_reading()
            self._count(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._is_stuck = False
        self._count(0)
        if self.transport is not None:
            self.transport.resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.protocols.discard(self)
        if self._lingering is not None:
            self._lingering.cancel()
        self._count(0)
        self.connection.lose()
        self._server.note_change()

    def flush(self) -> None:
        """Write what there is; say goodbye when that is the last."""
        if self.transport is None or self.transport.is_closing() or self._lingering is not None:
            return
        out = self.connection.take()
        if out:
            self.transport.write(out)
            if self._is_stuck:
                self._count(self.transport.get_write_buffer_size())
        if not self.connection.over:
            return
        if self.transport.can_write_eof():
            self._lingering = self._loop.call_later(LINGER_S, self.transport.abort)
            # A peer that has reset the connection is about to be noticed.
            with contextlib.suppress(OSError):
                self.transport.write_eof()
        else:
            # TLS says goodbye by itself, and waits for the peer's.
            self.transport.close()

    def look(self, now_s: float) -> None:
        """Give up what does not go on."""
        self.connection.give_up(now_s)
        self.flush()
        is_late = not self.connection.http2.is_introduced and now_s - self._since_s > HELLO_S
        if self.transport is not None and (is_late or (self._is_stuck and now_s - self._since_s > STUCK_S)):
            self.transport.abort()

    def _count(self, stuck_bytes: int) -> None:
        self._server.holding.change(stuck_bytes - self._stuck_bytes)
        self._stuck_bytes = stuck_bytes


class Http2Server:
    """A `Server` of our own."""

    def __init__(self, open_session: OpenSession, ready: Callable[[], bool], bounds: Bounds = DEFAULT) -> None:
        self.port = 0
        self.holding = Holding(bounds.held_bytes)
        self.draining = False
        self._bounds = bounds
        self.protocols: set[_Protocol] = set()
        self._open_session = open_session
        self._ready = ready
        self._listener: asyncio.Server | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    @property
    def streams(self) -> int:
        """Streams that are open now."""
        return sum(protocol.connection.streams for protocol in self.protocols)

    @property
    def held_bytes(self) -> int:
        """What is held for its peers now."""
        return self.holding.held_bytes

    async def listen(self, address: str, context: ssl.SSLContext | None) -> None:
        """Begin to serve. Raises `OSError` when the address cannot be used."""
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: _Protocol(self), host.strip("[]"), int(port), ssl=context, backlog=BACKLOG
        )
        self.port = int(self._listener.sockets[0].getsockname()[1])
        self._looking = loop.call_later(self._bounds.look_s, self._look)

    async def drain(self, grace_s: float) -> None:
        """Take no more streams, end settled ones with OK, give the others `grace_s` to be settled."""
        self.draining = True
        if self._listener is not None:
            self._listener.close()
        for protocol in tuple(self.protocols):
            protocol.connection.drain()
            protocol.flush()
        await self._until_gone(grace_s)
        for protocol in tuple(self.protocols):
            protocol.connection.stop()
            protocol.flush()
        await self._until_gone(1.0)
        for protocol in tuple(self.protocols):
            if protocol.transport is not None:
                protocol.transport.abort()
        if self._looking is not None:
            self._looking.cancel()

    def connection(self, spoken: Callable[[], None]) -> ExtProcConnection:
        """Make a connection that says by `spoken` when there is something to be taken of it."""
        return ExtProcConnection(
            self._open_session, self._ready, spoken=spoken, holding=self.holding, bounds=self._bounds
        )

    def note_change(self) -> None:
        """Say that a connection is gone."""
        self._changed.set()

    async def _until_gone(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.protocols:
                    self._changed.clear()
                    await self._changed.wait()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        for protocol in tuple(self.protocols):
            protocol.look(loop.time())
        self._looking = loop.call_later(self._bounds.look_s, self._look)


def _shown(files: ChangingFiles[ssl.SSLContext]) -> ssl.SSLContext:
    """Give a context of which every handshake is carried on with what the files hold then."""

    def show(handshake: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        files.changed()
        handshake.context = files.content

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    context.sni_callback = show
    return context


async def serve_ext_proc(
    address: str,
    open_session: OpenSession,
    *,
    ready: Callable[[], bool],
    bounds: Bounds = DEFAULT,
    files: ChangingFiles[ssl.SSLContext] | None = None,
) -> Http2Server:
    """Serve ext_proc and health at `ip:port`, over TLS with files. Raises `UserError`: the address is in use."""
    server = Http2Server(open_session, ready, bounds)
    try:
        await server.listen(address, None if files is None else _shown(files))
    except OSError as error:
        raise UserError(f"cannot serve ext_proc at {address}: {error}; is the port in use?") from error
    return server
