"""The cluster's name server: DNS over UDP and TCP at one address, answered from a zone that may change at any time."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

from dns import exception, message

from harness.cluster_services.names import Zone, answer

PORT = 53
UDP_BYTES = 1232
"""The most that is sent in a datagram; a longer answer is cut, and asked for by TCP."""


@contextlib.asynccontextmanager
async def serve_names(address: str, zone: Callable[[], Zone]) -> AsyncIterator[None]:
    """Answer queries by what `zone` gives at the time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, exception.DNSException):
            while True:
                length = struct.unpack("!H", await reader.readexactly(2))[0]
                wire = answer(message.from_wire(await reader.readexactly(length)), zone()).to_wire()
                writer.write(struct.pack("!H", len(wire)) + wire)
                await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(zone), local_addr=(address, PORT))
    server = await asyncio.start_server(serve, address, PORT)
    try:
        yield
    finally:
        server.close()
        transport.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zone: Callable[[], Zone]) -> None:
        self._zone = zone

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            given = answer(message.from_wire(data), self._zone())
            wire = given.to_wire(max_size=UDP_BYTES)
        except exception.TooBig:
            given.answer.clear()
            given.flags |= 0x0200  # cut: ask by TCP
            wire = given.to_wire()
        except exception.DNSException:
            return
        self._transport.sendto(wire, addr)
