"""Whether a picker's memory stays flat: request after request behind real Envoy, none of which is like another.

Each has a prompt, a request id, a session and a fairness id of its own; one in a hundred asks for a model that nobody
has. One in ten is broken off by its client: in the middle of its body, at its end, while an engine thinks, or in the
middle of its answer.
Engines are ports that answer at once. Run it with `make bench-memory`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import msgspec
import uvloop

from argosy.api.inference import InferencePool
from argosy.api.names import ENGINE_PORT, SERVICE_LABEL, TRUSTED_INPUTS
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from harness.dataplane import DataPlane, data_plane
from harness.picker_process import PickerProcess, picker_process
from harness.usage import cpu_s, pss_mb
from harness.waiting import until

MODEL: Final = "bench"
ENDPOINTS: Final = 8
CONNECTIONS: Final = 64
ROWS: Final = 10
BREAKS: Final = ("body", "end", "think", "answer")
WHOLE: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
TARGETS: Final = {"grown_mb": 5.0}


class Engine(asyncio.Protocol):
    """Answers requests as their header `x-bench` asks for: not at all, in half, or whole."""

    def __init__(self, thinking: Callable[[int], None]) -> None:
        self._held = b""
        self._thinking = thinking
        """Told the number of a request that will have no answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to answer."""
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """Answer what has come whole."""
        held = self._held + data
        head, end, body = held.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0) if end else 0
        if not end or len(body) < length:
            self._held = held
            return
        self._held = b""
        how = head.lower().partition(b"x-bench: ")[2].split(b"\r\n", 1)[0]
        if how.startswith(b"think"):
            self._thinking(int(how.split(b"-")[1]))
        else:
            self._transport.write(WHOLE[:-1] if how.startswith(b"answer") else WHOLE)


class Asking:
    """Gives requests, each unlike all others, and says when their client leaves."""

    def __init__(self) -> None:
        self.given = 0
        self.most = 0
        """How many requests there are to be, for now."""
        self.broken_off = 0
        self.statuses: dict[str, int] = {}
        self._thinking: dict[int, asyncio.Event] = {}

    def think(self, number: int) -> None:
        """Take note that an engine has a request."""
        self._thinking[number].set()

    def requests(self) -> Iterator[tuple[int, str, bytes]]:
        """Give requests by number, each with where it is broken off: one of `BREAKS`, or nowhere."""
        while self.given < self.most:
            number, self.given = self.given, self.given + 1
            leaves = BREAKS[number // 10 % len(BREAKS)] if number % 10 == 0 else ""
            model = f"nobody-{number}" if number % 100 == 55 else MODEL
            prompt = os.urandom(1000).hex()
            body = json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]}).encode()
            lines = (
                *("POST /v1/chat/completions HTTP/1.1", "host: x", "content-type: application/json"),
                *(f"x-request-id: r-{number}", f"x-session-id: s-{number}"),
                *(f"x-llm-d-inference-fairness-id: f-{number}", f"x-bench: {leaves or 'whole'}-{number}"),
                f"content-length: {len(body)}\r\n\r\n",
            )
            yield number, leaves, "\r\n".join(lines).encode() + body

    async def ask(self, where: Endpoint) -> None:
        """Send requests one after another, over connections that last until one is broken off."""
        reader, writer = await asyncio.open_connection(where.address, where.port)
        for number, leaves, request in self.requests():
            if leaves == "think":
                self._thinking[number] = asyncio.Event()
            writer.write(request[:-500] if leaves == "body" else request)
            if leaves == "think":
                await self._thinking[number].wait()
                del self._thinking[number]
            if not leaves or leaves == "answer":
                head = await reader.readuntil(b"\r\n\r\n")
                status = head.split(b" ", 2)[1].decode()
                self.statuses[status] = self.statuses.get(status, 0) + 1
            if leaves:
                self.broken_off += 1
                writer.close()
                reader, writer = await asyncio.open_connection(where.address, where.port)
            else:
                await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]))
        writer.close()


@contextlib.asynccontextmanager
async def serving(folder: Path, asking: Asking) -> AsyncIterator[tuple[DataPlane, PickerProcess]]:
    """Run Envoy, a picker, and engines whose pool believes what clients say of themselves."""
    loop = asyncio.get_running_loop()
    async with data_plane(folder) as plane, contextlib.AsyncExitStack() as stack:
        for number in range(1, ENDPOINTS + 1):
            server = await loop.create_server(lambda: Engine(asking.think), f"127.252.0.{number}", ENGINE_PORT)
            stack.callback(server.close)
            await plane.add_pod(Key("default", f"{MODEL}-{number}"), {SERVICE_LABEL: MODEL}, f"127.252.0.{number}")
        await plane.publish_model(MODEL)
        pool = await plane.get(InferencePool, Key("default", MODEL))
        believed = {TRUSTED_INPUTS: "objective,fairness,slo,session"}
        metadata = {"namespace": "default", "name": MODEL, "annotations": believed}
        await plane.apply(InferencePool, {"metadata": metadata, "spec": msgspec.to_builtins(pool.spec)})
        picker = await stack.enter_async_context(picker_process(plane.store_address, folder, address=plane.address()))
        await plane.add_picker(Endpoint.parse(picker.address))
        await plane.programmed()
        yield plane, picker


async def measure(requests: int, folder: Path) -> dict[str, Any]:
    """Send so many requests; gives the picker's memory after each tenth of them."""
    rows: list[dict[str, float]] = []
    asking = Asking()
    async with serving(folder, asking) as (plane, picker):
        where = Endpoint(plane.bind_address, plane.port)
        begun_mb, cpu_began_s, began_s = pss_mb(picker.pid), cpu_s(picker.pid), time.monotonic()
        print(f"{'requests':>9} {'PSS MB':>7} {'blocks':>8} {'per s':>7}")
        for _ in range(ROWS):
            asking.most += requests // ROWS
            row_began_s = time.monotonic()
            await asyncio.gather(*(asking.ask(where) for _ in range(CONNECTIONS)))
            per_s = requests // ROWS / (time.monotonic() - row_began_s)
            await until(lambda: is_at_rest(picker))
            blocks = await picker.metric("argosy_prefix_blocks")
            rows.append({"requests": asking.given, "memory_mb": pss_mb(picker.pid), "blocks": blocks})
            print(f"{asking.given:9} {rows[-1]['memory_mb']:7.1f} {blocks:8.0f} {per_s:7.0f}", flush=True)
        memory_mb = [row["memory_mb"] for row in rows]
        return {
            "rows": rows,
            "begun_mb": begun_mb,
            "most_mb": max(memory_mb),
            "grown_mb": max(memory_mb[ROWS // 2 :]) - memory_mb[ROWS // 2 - 1],
            "answered": sum(asking.statuses.values()),
            "statuses": asking.statuses,
            "broken_off": asking.broken_off,
            "picks": await picker.metric("argosy_requests_total"),
            "picker_cpu_us": (cpu_s(picker.pid) - cpu_began_s) / asking.given * 1e6,
            "requests_per_s": asking.given / (time.monotonic() - began_s),
        }


async def is_at_rest(picker: PickerProcess) -> bool:
    """Say whether nothing is under way."""
    return [await picker.metric(name) for name in ("argosy_ext_proc_streams", "argosy_reservations")] == [0, 0]


def main() -> None:
    """Print a row for each tenth, each figure, one beside its aim, and all of them as JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500_000, help="how many to send (%(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as folder:
        figures = uvloop.run(measure(args.requests, Path(folder)))
    for name, figure in figures.items():
        if isinstance(figure, float | int):
            aim = f"  aim <= {TARGETS[name]}  ratio {figure / TARGETS[name]:.2f}" if name in TARGETS else ""
            print(f"{name:<16} {figure:12.1f}{aim}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
