"""What the gateway costs: added time to first token, time from installed to ready, memory of all but the engines.

Serves `examples/smollm2.yaml` on a free port, then sends short streamed chats at 10 requests/s, in rounds through the
gateway, straight to a replica, and through sglang-router over the same replicas, so that all see the same machine.
Run it with `make bench-gateway`.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from harness.usage import cpu_s, family, pss_mb  # noqa: E402 (found by the path above)

ARGOSY = [sys.executable, "-m", "argosy"]
PEER_PYTHON = ROOT / ".venv" / "peers" / "bin" / "python"
PROMPT = "Say yes."
"""The same every time: its prefix is cached, so that the engine's own share is small and steady."""

ROUND = 20
"""Requests that one way gets before the next has its turn."""


def free_port() -> int:
    """Give a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def gateway(port: int) -> Iterator[tuple[dict[str, Any], float]]:
    """Serve the example; give its status, and the seconds from the command to ready."""
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as folder:
        options = ["--state-dir", folder]
        begun = time.perf_counter()
        example = ROOT / "examples" / "smollm2.yaml"
        subprocess.run([*ARGOSY, "up", "-d", "--port", str(port), *options, example], check=True)
        up_s = time.perf_counter() - begun
        try:
            shown = subprocess.run([*ARGOSY, "status", "--json", *options], check=True, capture_output=True)
            yield json.loads(shown.stdout), up_s
        finally:
            subprocess.run([*ARGOSY, "down", *options], check=False, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def peer(port: int, workers: list[str]) -> Iterator[int | None]:
    """Run sglang-router over the workers; give its process id, or None where it is not installed."""
    if not PEER_PYTHON.exists():
        print("sglang-router is not installed (make peers), so there is nothing to compare with")
        yield None
        return
    command = [str(PEER_PYTHON), "-m", "sglang_router.launch_router", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--policy", "round_robin", "--prometheus-port", str(free_port()), "--worker-urls", *workers]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


def wake_up_us() -> float:
    """Give the median time, in µs, to wake a sleeping process and be woken by it: what each hop costs here."""
    ours, theirs = socket.socketpair()
    echo = "import socket, sys\ns = socket.socket(fileno=int(sys.argv[1]))\nwhile d := s.recv(1): s.send(d)"
    with subprocess.Popen([sys.executable, "-c", echo, str(theirs.fileno())], pass_fds=[theirs.fileno()]):
        theirs.close()
        with ours:
            times = []
            for _ in range(200):
                time.sleep(0.01)
                begun = time.perf_counter()
                ours.send(b"x")
                ours.recv(1)
                times.append((time.perf_counter() - begun) * 1e6)
    return statistics.median(times)


async def first_token_ms(session: aiohttp.ClientSession, url: str, model: str) -> float:
    """Give the time from sending a streamed chat to its first event, which leaves with the first token."""
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "stream": True, "max_tokens": 2}
    begun = time.perf_counter()
    async with session.post(f"{url}/chat/completions", json=body) as response:
        response.raise_for_status()
        first = None
        async for line in response.content:
            if first is None and line.startswith(b"data: {"):
                first = (time.perf_counter() - begun) * 1000
    if first is None:
        raise RuntimeError(f"{url} answered without an event")
    return first


async def measure(ways: dict[str, list[str]], model: str, *, requests: int, rate: float) -> dict[str, list[float]]:
    """Give times to first token in ms by way, each at `rate` requests/s, in rounds by turns; `ways` are base URLs."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:

        async def one(way: str, url: str) -> None:
            times[way].append(await first_token_ms(session, url, model))

        for urls in ways.values():
            for url in urls:
                await until_it_answers(session, url, model)
        for _ in range(0, requests, ROUND):
            for way, urls in ways.items():
                begun = time.perf_counter()
                running = []
                for index in range(ROUND):
                    running.append(asyncio.create_task(one(way, urls[index % len(urls)])))
                    await asyncio.sleep(max(0.0, begun + (index + 1) / rate - time.perf_counter()))
                await asyncio.gather(*running)
    return times


async def until_it_answers(session: aiohttp.ClientSession, url: str, model: str) -> None:
    """Wait, 30 s at most, for a first answer."""
    for _ in range(300):
        with contextlib.suppress(aiohttp.ClientError):
            await first_token_ms(session, url, model)
            return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"{url} does not answer")


def main() -> None:
    """Serve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200, help="per way (default 200)")
    parser.add_argument(
        "--rate", type=float, default=10.0, help="requests/s of a way while it has its turn (default 10)"
    )
    args = parser.parse_args()
    port, peer_port = free_port(), free_port()
    with gateway(port) as (status, up_s):
        service = status["services"][0]
        engines = [f"http://{replica['address']}" for replica in service["replicas"]]
        with peer(peer_port, engines) as peer_pid:
            ways = {"gateway": [f"http://127.0.0.1:{port}/v1"], "direct": [f"{engine}/v1" for engine in engines]}
            if peer_pid is not None:
                ways["sglang-router"] = [f"http://127.0.0.1:{peer_port}/v1"]
            pids = {part["name"]: [part["pid"]] for part in status["components"]}
            pids["envoy"] = family(pids["envoy"][0])
            before, begun = {name: sum(map(cpu_s, each)) for name, each in pids.items()}, time.perf_counter()
            times = asyncio.run(measure(ways, service["model"], requests=args.requests, rate=args.rate))
            wall_s = time.perf_counter() - begun
            cpu = {name: (sum(map(cpu_s, each)) - before[name]) / wall_s * 100 for name, each in pids.items()}
            memory = {name: sum(map(pss_mb, each)) for name, each in pids.items()}
            peer_memory = None if peer_pid is None else pss_mb(peer_pid)
    show(times, memory | ({} if peer_memory is None else {"sglang-router": peer_memory}), cpu)
    median = {way: statistics.median(values) for way, values in times.items()}
    added = median["gateway"] - median["direct"]
    figures = {
        "added_ttft_ms_p50": round(added, 3),
        "direct_ttft_ms_p50": round(median["direct"], 3),
        "up_s": round(up_s, 2),
        "memory_mb": round(sum(memory.values()), 1),
        "wake_up_us_p50": round(wake_up_us(), 1),
        "cpu_percent": round(sum(cpu.values()), 1),
    }
    if peer_memory is not None:
        peer_added = median["sglang-router"] - median["direct"]
        figures |= {
            "sglang_router_added_ttft_ms_p50": round(peer_added, 3),
            "sglang_router_memory_mb": round(peer_memory, 1),
            "ratio_added_ttft": round(added / peer_added, 2),
        }
    print(json.dumps(figures))


def show(times: dict[str, list[float]], memory: dict[str, float], cpu: dict[str, float]) -> None:
    """Print tables for people."""
    print(f"{'way':<16}{'p50 ms':>10}{'p90 ms':>10}{'requests':>10}")
    for way, values in times.items():
        deciles = statistics.quantiles(values, n=10)
        print(f"{way:<16}{statistics.median(values):>10.2f}{deciles[-1]:>10.2f}{len(values):>10}")
    print(f"{'process':<16}{'MB':>10}{'CPU %':>10}")
    for name, megabytes in sorted(memory.items()):
        share = f"{cpu[name]:.1f}" if name in cpu else ""
        print(f"{name:<16}{megabytes:>10.1f}{share:>10}")


if __name__ == "__main__":
    main()
