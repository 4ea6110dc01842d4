"""What a pick costs: CPU time of picker and Envoy for each request, by size of its body, beside a peer's router.

Backends answer at once with a few bytes. Envoy with a picker of each transport routes requests, from 16 connections as
fast as they go: our own gateway, which buffers bodies (`buffered`), and an Envoy as other makers drive a picker, with
bodies and answers in chunks (`full_duplex`). So do sglang-router and vllm-router (cache aware both), each proxy and
picker in one, which a mode says nothing of: the last ratios are those of Envoy and picker together to them. What a
picker spends on scrapes meanwhile is in its figure. Run it with `make bench-picker`.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from argosy.api.names import ENGINE_PORT, SERVICE_LABEL
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from gateway import PEER_PYTHON, free_port
from harness.dataplane import DataPlane, data_plane
from harness.foreign_gateway import foreign_gateway
from harness.picker_process import picker_process
from harness.usage import cpu_s, pss_mb

SIZES = (1_000, 10_000, 100_000, 400_000)
CONNECTIONS = 16
MODEL = "bench"
WINDOW = 1024 * 1024
"""Of the foreign gateway's streams to the picker: what gateways are set to that send bodies of prompts."""
PEERS = {"sglang-router": "sglang_router.launch_router", "vllm-router": "vllm_router.launch_router"}
PEER_ENDPOINTS = 100
"""With more workers the peers are not measured: they ask each of them at their start, one by one."""
LAST_CHUNK = b"\r\n0\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Backend(asyncio.Protocol):
    """Reads a request, by its content-length or in chunks, and answers."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._is_chunked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to answer."""
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """Count the bytes of bodies."""
        while data:
            if self._is_chunked:
                self._until_last_chunk(data)
                return
            if self._left:
                taken = min(self._left, len(data))
                data, self._left = data[taken:], self._left - taken
                if not self._left:
                    self._transport.write(ANSWER)
                continue
            head, end, rest = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return
            self._head, data = b"", rest
            lower = head.lower()
            at = lower.find(b"content-length:")
            self._left = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self._is_chunked = b"transfer-encoding: chunked" in lower
            if not self._left and not self._is_chunked:
                self._transport.write(ANSWER)

    def _until_last_chunk(self, data: bytes) -> None:
        # Nobody sends the next request before the answer, and bodies have no line ends.
        self._head = (self._head + data)[-len(LAST_CHUNK) :]
        if self._head == LAST_CHUNK:
            self._head, self._is_chunked = b"", False
            self._transport.write(ANSWER)


async def ask(host: str, port: int, requests: list[bytes], end_s: float) -> int:
    """Send requests over one connection until the time is over; gives how many were answered."""
    reader, writer = await asyncio.open_connection(host, port)
    count = 0
    try:
        while time.monotonic() < end_s:
            writer.write(requests[count % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            status = head.split(b" ", 2)[1]
            if status != b"200":
                raise RuntimeError(f"answered {head!r}")
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
            await (reader.readexactly(int(length)) if length else reader.readuntil(LAST_CHUNK))
            count += 1
    finally:
        writer.close()
    return count


def requests_of(size: int, rng: random.Random) -> list[bytes]:
    """Give chats whose bodies have about so many bytes; each has a beginning of its own."""
    made = []
    for _ in range(20):
        words = "".join(rng.choices(string.ascii_lowercase + "    ", k=size - 90))
        body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": words}]}).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        made.append(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    return made


async def cost(where: Endpoint, pids: list[int], requests: list[bytes], seconds: float) -> list[float]:
    """Give the CPU µs of each process for each request."""
    end_s = time.monotonic() + 0.5
    await asyncio.gather(*(ask(where.address, where.port, requests, end_s) for _ in range(CONNECTIONS)))
    before = [cpu_s(pid) for pid in pids]
    end_s = time.monotonic() + seconds
    counts = await asyncio.gather(*(ask(where.address, where.port, requests, end_s) for _ in range(CONNECTIONS)))
    return [(cpu_s(pid) - then) / sum(counts) * 1e6 for pid, then in zip(pids, before, strict=True)]


@contextlib.asynccontextmanager
async def backends(plane: DataPlane, count: int) -> AsyncIterator[list[Endpoint]]:
    """Run backends, and make them pods of the model."""
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for number in range(count):
            endpoint = Endpoint(f"127.251.{number // 250}.{number % 250 + 1}", ENGINE_PORT)
            server = await loop.create_server(Backend, endpoint.address, endpoint.port)
            stack.callback(server.close)
            await plane.add_pod(Key("default", f"{MODEL}-{number}"), {SERVICE_LABEL: MODEL}, endpoint.address)
            found.append(endpoint)
        await plane.publish_model(MODEL)
        yield found


@contextlib.asynccontextmanager
async def router(module: str, workers: list[Endpoint]) -> AsyncIterator[tuple[Endpoint, int]]:
    """Run a peer over the workers."""
    port = free_port()
    command = [str(PEER_PYTHON), "-m", module, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--policy", "cache_aware", "--prometheus-port", str(free_port())]
    command += ["--max-payload-size", "4000000", "--worker-urls", *(f"http://{each}" for each in workers)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(150):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            await asyncio.sleep(0.2)
        await asyncio.sleep(2)  # it asks its workers first
        yield Endpoint("127.0.0.1", port), process.pid
    finally:
        process.terminate()
        await process.wait()


class Bench:
    """The rows of one run."""

    def __init__(self, folder: Path, seconds: float, sizes: list[int]) -> None:
        self.rows: list[dict[str, Any]] = []
        self._folder = folder
        self._seconds = seconds
        rng = random.Random(1)
        self._requests = {size: requests_of(size, rng) for size in sizes}
        self._numbers = itertools.count()
        print(f"{'picker':15} {'mode':11} {'bytes':>8} {'ends':>5} {'µs':>9} {'envoy µs':>9}")

    async def pickers(self, transport: str, endpoints: int) -> None:
        """Measure a picker behind both gateways."""
        name = "argosy" if transport == "http2" else f"argosy-{transport}"
        folder = self._new_folder()
        async with data_plane(folder) as plane, backends(plane, endpoints) as pods:
            options = ("--transport", transport)
            async with picker_process(plane.store_address, folder, *options, address=plane.address()) as running:
                at = Endpoint.parse(running.address)
                await plane.add_picker(at)
                await plane.programmed()
                own = Endpoint(plane.bind_address, plane.port)
                pids = [each.pid for each in (running.process, plane.envoy.process) if each is not None]
                await self._measure(name, "buffered", own, pids, endpoints)
                async with foreign_gateway(folder, at, pods, address=plane.address(), window=WINDOW) as foreign:
                    pids[1] = foreign.process.pid
                    await self._measure(name, "full_duplex", foreign.endpoint, pids, endpoints)
                print(f"{name:15} {pss_mb(pids[0]):8.1f} MB")

    async def peer(self, name: str, endpoints: int) -> None:
        """Measure a router of somebody else."""
        async with (
            data_plane(self._new_folder()) as plane,
            backends(plane, endpoints) as workers,
            router(PEERS[name], workers) as (where, pid),
        ):
            await self._measure(name, "buffered", where, [pid], endpoints)

    async def _measure(self, picker: str, mode: str, where: Endpoint, pids: list[int], endpoints: int) -> None:
        for size, requests in self._requests.items():
            own, *more = await cost(where, pids, requests, self._seconds)
            envoy = more[0] if more else 0.0
            self.rows.append(
                {
                    "picker": picker,
                    "mode": mode,
                    "body_bytes": size,
                    "endpoints": endpoints,
                    "cpu_us": round(own, 1),
                    "envoy_cpu_us": round(envoy, 1),
                }
            )
            print(f"{picker:15} {mode:11} {size:8} {endpoints:5} {own:9.1f} {envoy:9.1f}", flush=True)

    def _new_folder(self) -> Path:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        return folder


async def measure(bench: Bench, counts: list[int]) -> None:
    """Make all rows."""
    for endpoints in counts:
        for transport in ("http2", "grpcio"):
            await bench.pickers(transport, endpoints)
        if not PEER_PYTHON.exists():
            print("the peers are not installed (make peers), so there is nothing to compare with")
        elif endpoints <= PEER_ENDPOINTS:
            for name in PEERS:
                await bench.peer(name, endpoints)


def print_ratios(rows: list[dict[str, Any]], sizes: list[int]) -> None:
    """Print what argosy costs in parts of another's cost, size by size."""
    by = {(each["picker"], each["mode"], each["endpoints"], each["body_bytes"]): each for each in rows}

    def print_one(endpoints: int, mode: str, other: str, of: str, *, with_envoy: bool = False) -> None:
        pairs = [(by["argosy", mode, endpoints, size], by.get((other, of, endpoints, size))) for size in sizes]
        costs = [
            (own["cpu_us"] + with_envoy * own["envoy_cpu_us"], theirs["cpu_us"]) for own, theirs in pairs if theirs
        ]
        if costs:
            what = f"argosy {mode}{' with Envoy' if with_envoy else ''} / {other} {of}"
            print(f"{endpoints} endpoints: {what}: {' '.join(f'{own / theirs:.2f}' for own, theirs in costs)}")

    for endpoints in sorted({each["endpoints"] for each in rows}):
        for peer in PEERS:
            print_one(endpoints, "buffered", peer, "buffered")
        print_one(endpoints, "buffered", "argosy-grpcio", "buffered")
        print_one(endpoints, "full_duplex", "argosy-grpcio", "full_duplex")
        print_one(endpoints, "full_duplex", "argosy", "buffered")
        for peer in PEERS:
            print_one(endpoints, "buffered", peer, "buffered", with_envoy=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each row (%(default)s)")
    parser.add_argument("--endpoints", type=int, nargs="+", default=[8, 1000], help="numbers of them (%(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="of bodies (%(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as name:
        bench = Bench(Path(name), args.seconds, args.sizes)
        asyncio.run(measure(bench, args.endpoints))
    print_ratios(bench.rows, args.sizes)
    print(json.dumps({"rows": bench.rows}))


if __name__ == "__main__":
    main()
