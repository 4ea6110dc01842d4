"""What a picker costs that has nothing to do: CPU time and memory, and how old the signals of engines get meanwhile.

100 endpoints, each showing a metrics page of the size that vLLM's has (58 KB), and no request. Run it with
`make bench-idle`.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.serve import serve_store
from harness.picker_process import picker_process
from harness.services import gateway, gateway_class, service
from harness.usage import cpu_s, pss_mb

ENDPOINTS = 100
PORT = 8000
SETTLING_S = 15.0
PAGE_BYTES = 58_000
TARGETS = {"idle_cores": 0.05, "oldest_signals_s": 5.0}


def page() -> bytes:
    """Give a page of metrics in which the few that matter stand last."""
    lines: list[str] = []
    number = 0
    while sum(map(len, lines)) < PAGE_BYTES:
        name = f"vllm:family_{number}"
        lines.append(f"# HELP {name} Something that nobody here asks for.\n# TYPE {name} gauge\n")
        lines.append(f'{name}{{engine="0",model_name="meta-llama/Llama-3.1-8B-Instruct"}} {number}.0\n')
        number += 1
    lines += (f'vllm:{name}{{engine="0"}} 0.0\n' for name in ("num_requests_running", "num_requests_waiting"))
    return "".join(lines).encode()


class Engines:
    """Answers for all endpoints at once, and knows when each was last asked."""

    def __init__(self) -> None:
        self.asked_at_s: dict[str, float] = {}
        self.gaps_s: list[float] = []
        self._answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: "
        content = page()
        self._answer += b"%d\r\n\r\n%s" % (len(content), content)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it ends."""
        address = writer.get_extra_info("sockname")[0]
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                now_s = time.monotonic()
                if address in self.asked_at_s:
                    self.gaps_s.append(now_s - self.asked_at_s[address])
                self.asked_at_s[address] = now_s
                writer.write(self._answer)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def store_of(folder: Path, addresses: list[str]) -> AsyncIterator[str]:
    """Serve a store with a pool of these endpoints; gives its address."""
    numbers = iter(range(1_000_000))
    store = InMemoryStore(now=lambda: "2026-01-01T00:00:00Z", new_uid=lambda: f"uid-{next(numbers)}")
    async with serve_store(store, folder / "store.sock"):
        for obj in (gateway_class(), gateway(), *service("a", addresses, model="m")):
            await store.apply(obj, owner="bench")
            if obj.KIND == "Pod":
                await store.write_status(obj)
        yield f"unix://{folder / 'store.sock'}"


async def measure(seconds: float, folder: Path) -> dict[str, float]:
    """Watch an idle picker for so long."""
    engines = Engines()
    addresses = [f"127.20.0.{number}" for number in range(1, ENDPOINTS + 1)]
    server = await asyncio.start_server(engines.serve, "0.0.0.0", PORT)
    async with server, store_of(folder, addresses) as store, picker_process(store, folder) as picker:
        pid = picker.pid
        await asyncio.sleep(SETTLING_S)
        engines.gaps_s.clear()
        before, began_s = cpu_s(pid), time.monotonic()
        await asyncio.sleep(seconds)
        ended_s = time.monotonic()
        waits = [ended_s - at_s for at_s in engines.asked_at_s.values()]
        if len(waits) != ENDPOINTS:
            raise RuntimeError(f"only {len(waits)} endpoints were asked")
        return {
            "idle_cores": (cpu_s(pid) - before) / (ended_s - began_s),
            "oldest_signals_s": max(engines.gaps_s + waits),
            "pages_per_s": len(engines.gaps_s) / (ended_s - began_s),
            "memory_mb": pss_mb(pid),
        }


def main() -> None:
    """Print each figure beside its aim, and all of them as JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to watch (%(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(args.seconds, Path(folder)))
    for name, figure in figures.items():
        aim = f"  aim <= {TARGETS[name]}  ratio {figure / TARGETS[name]:.2f}" if name in TARGETS else ""
        print(f"{name:<18} {figure:8.3f}{aim}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
