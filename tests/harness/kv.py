"""Engines between which KV caches move, and the two legs of a request."""

import asyncio
import contextlib
import random
import signal
import socket
import urllib.request
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from argosy.api.names import MOVED_HEADER
from argosy.apps.engine.kv_header import Header, decode_header
from argosy.edge.http.exposition import samples
from argosy.edge.transfer.fetching import Fetching
from argosy.edge.transfer.wire import REQUEST_BYTES
from harness.engine import Engine

KV_PORT = 5600
PREFILL = {"do_remote_decode": True, "do_remote_prefill": False}
PATH = "/v1/completions"
SOURCE = 'vllm:prompt_tokens_by_source_total{source="%s"}'
FAILED = "vllm:nixl_num_failed_transfers_total"
EXPIRED = "vllm:nixl_num_kv_expired_reqs_total"
HELD = "argosy_kv_states_held"
NOT_HELD = "argosy_kv_states_not_held_total"
BYTES = "argosy_kv_states_bytes"
_MOUNT = 'mount -t tmpfs -o size=4m tiny "$0" && exec "$@"'


def tiny_memory(folder: Path) -> tuple[str, ...]:
    """Give words that come before a program: for it, in that folder are 4 MB of memory files."""
    return ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT, str(folder))


@contextlib.asynccontextmanager
async def kv_engine(*arguments: str, **settings: Any) -> AsyncIterator[Engine]:
    """An engine that hands KV caches over and takes them; it ends by itself, and leaves nothing in memory files."""
    async with Engine.started("--kv-port", str(KV_PORT), *arguments, **settings) as engine:
        try:
            yield engine
        finally:
            if engine.process.returncode is None:
                engine.process.send_signal(signal.SIGTERM)
                engine.process.send_signal(signal.SIGINT)  # does not wait for pulls that never come
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(engine.process.wait(), 10)


async def prefill(engine: Engine, body: dict[str, Any], path: str = PATH) -> dict[str, Any]:
    """The first leg; gives the parameters for the second one."""
    status, answer = await engine.post(path, body | {"max_tokens": 1, "kv_transfer_params": PREFILL})
    assert status == 200, answer
    assert answer["usage"]["completion_tokens"] == 1
    parameters: dict[str, Any] = answer["kv_transfer_params"]
    return parameters


async def answered(engine: Engine, body: dict[str, Any], path: str = PATH, **fields: Any) -> tuple[str, int]:
    """A whole answer: its text, and how many tokens of its prompt were not computed."""
    return (await told(engine, body, path, **fields))[:2]


async def told(engine: Engine, body: dict[str, Any], path: str = PATH, **fields: Any) -> tuple[str, int, str | None]:
    """A whole answer, as `answered` gives it, and what it says of the state that was to come."""
    async with engine.http.post(path, json=body | fields) as response:
        answer = await response.json()
        assert response.status == 200, answer
        moved = response.headers.get(MOVED_HEADER)
    assert "kv_transfer_params" not in answer
    choice = answer["choices"][0]
    text = choice["text"] if "text" in choice else choice["message"]["content"]
    return text, answer["usage"]["prompt_tokens_details"]["cached_tokens"], moved


def moved_tokens(endpoints: Iterable[str]) -> int:
    """Give how many tokens of prompts engines (`ADDRESS:PORT`) have been given by others."""
    name = "vllm:prompt_tokens_by_source_total"
    return int(sum(measured(each, name, source="external_kv_transfer") for each in endpoints))


def measured(endpoint: str, name: str, **labels: str) -> float:
    """Give what a process (`ADDRESS:PORT`) counts by that name, over all series that have these labels."""
    with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=10) as page:
        found = samples(page.read())
    return sum(value for (each, has), value in found.items() if each == name and labels.items() <= dict(has).items())


def gained(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What has grown between two samples of an engine's metrics, and by how much."""
    return {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}


def greedy(prompt: Any, max_tokens: int = 16) -> dict[str, Any]:
    """A greedy completion."""
    return {"prompt": prompt, "temperature": 0, "max_tokens": max_tokens, "ignore_eos": True}


def address() -> str:
    """A loopback address of one's own."""
    return f"127.{random.randint(64, 127)}.{random.randint(0, 255)}.{random.randint(1, 254)}"


async def pulled(parameters: dict[str, Any]) -> tuple[Header, bytes]:
    """A state, as an engine that pulls it gets it."""

    def pull() -> tuple[Header, bytes]:
        where = parameters["remote_host"], parameters["remote_port"]
        with Fetching(where, within_s=10, unwanted=lambda: False) as peer:
            header = decode_header(peer.header(parameters["remote_request_id"], limit_bytes=1 << 20))
            state = b"".join(map(bytes, peer.pieces(header.state_bytes)))
            peer.acknowledge()
            return header, state

    return await asyncio.to_thread(pull)


@contextlib.asynccontextmanager
async def scripted_sender(*said: bytes) -> AsyncIterator[str]:
    """Somebody at the KV port of an address, which is given, who says this to whoever asks, and then nothing more."""
    where = address()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readexactly(REQUEST_BYTES)
            writer.writelines(said)
            writer.write_eof()
            await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, where, KV_PORT):
        yield where


@contextlib.asynccontextmanager
async def relay(engine: Engine, limit_bytes: int = 1 << 40) -> AsyncIterator["Relay"]:
    """Somebody between an engine's KV port and whoever pulls, who stalls once so many bytes went through."""
    between = Relay(engine, limit_bytes)
    async with await asyncio.start_server(between.serve, between.address, KV_PORT):
        yield between


class Relay:
    """What went through from the engine, and whether it stalls; when one side ends, it ends the other."""

    def __init__(self, engine: Engine, limit_bytes: int) -> None:
        self.address = address()
        self.through_bytes = 0
        self.stalls, self.goes_on = asyncio.Event(), asyncio.Event()
        self._engine = engine
        self._limit_bytes = limit_bytes
        self._transports: list[asyncio.WriteTransport] = []

    def cut(self) -> None:
        """Break both connections, as a network does that forgets them."""
        for transport in self._transports:
            transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = socket.socket()
        way.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # little is on its way when it stalls
        way.setblocking(False)
        await asyncio.get_running_loop().sock_connect(way, (self._engine.address, KV_PORT))
        from_engine, to_engine = await asyncio.open_connection(sock=way)
        self._transports += [writer.transport, to_engine.transport]
        ways = [asyncio.ensure_future(way) for way in (self._there(reader, to_engine), self._back(from_engine, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.close()
        to_engine.close()

    async def _there(self, reader: asyncio.StreamReader, to_engine: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            to_engine.write(piece)

    async def _back(self, from_engine: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await from_engine.read(65536):
            writer.write(piece)
            await writer.drain()
            self.through_bytes += len(piece)
            if self.through_bytes >= self._limit_bytes and not self.stalls.is_set():
                self.stalls.set()
                await self.goes_on.wait()
