"""What the gateway costs: added time to first token, time from installed to ready, memory of all but the engines.

Serves `examples/smollm2.yaml` on a free port, then sends short streamed chats at 10 requests/s, by turns through the
gateway and straight to a replica, so that both see the same machine. Run it with `make bench-gateway`.
"""

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

ROOT = Path(__file__).resolve().parent.parent
ARGOSY = [sys.executable, "-m", "argosy"]


def free_port() -> int:
    """Give a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pss_mb(pid: int) -> float:
    """Give the proportional set size of a process in MB (2**20 bytes)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no Pss of {pid}")


async def first_token_ms(session: aiohttp.ClientSession, url: str, model: str, prompt: str) -> float:
    """Give the time from sending a streamed chat to its first event, which leaves with the first token."""
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": True, "max_tokens": 2}
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


async def measure(
    gateway: str, engines: list[str], model: str, *, requests: int, rate: float
) -> dict[str, list[float]]:
    """Give times to first token in ms, through the gateway and direct, taken by turns at `rate` requests/s."""
    times: dict[str, list[float]] = {"gateway": [], "direct": []}
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def one(way: str, url: str) -> None:
            # The same prompt every time: its prefix is cached, so that the engine's own share is small and steady.
            times[way].append(await first_token_ms(session, url, model, "Say yes."))

        for url in [gateway, *engines]:
            await first_token_ms(session, url, model, "Say yes.")
        begun = time.perf_counter()
        running = []
        for index in range(2 * requests):
            way, url = ("gateway", gateway) if index % 2 == 0 else ("direct", engines[index // 2 % len(engines)])
            running.append(asyncio.create_task(one(way, url)))
            await asyncio.sleep(max(0.0, begun + (index + 1) / rate - time.perf_counter()))
        await asyncio.gather(*running)
    return times


def main() -> None:
    """Serve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200, help="per way (default 200)")
    parser.add_argument("--rate", type=float, default=10.0, help="requests/s of both ways together (default 10)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as folder:
        options = ["--state-dir", folder]
        port = free_port()
        begun = time.perf_counter()
        subprocess.run(
            [*ARGOSY, "up", "-d", "--port", str(port), *options, ROOT / "examples" / "smollm2.yaml"], check=True
        )
        up_s = time.perf_counter() - begun
        try:
            status = json.loads(
                subprocess.run([*ARGOSY, "status", "--json", *options], check=True, capture_output=True).stdout
            )
            service = status["services"][0]
            engines = [f"http://{replica['address']}/v1" for replica in service["replicas"]]
            times = asyncio.run(
                measure(
                    f"http://127.0.0.1:{port}/v1", engines, service["model"], requests=args.requests, rate=args.rate
                )
            )
            memory = {f"{part['name']}": pss_mb(part["pid"]) for part in status["components"]}
        finally:
            subprocess.run([*ARGOSY, "down", *options], check=False, stdout=subprocess.DEVNULL)
    median = {way: statistics.median(values) for way, values in times.items()}
    print(f"{'way':<10}{'p50 ms':>10}{'p90 ms':>10}{'requests':>10}")
    for way, values in times.items():
        print(f"{way:<10}{median[way]:>10.2f}{statistics.quantiles(values, n=10)[-1]:>10.2f}{len(values):>10}")
    print("\n".join(f"{name:<12}{megabytes:>8.1f} MB" for name, megabytes in sorted(memory.items())))
    figures = {
        "added_ttft_ms_p50": round(median["gateway"] - median["direct"], 3),
        "direct_ttft_ms_p50": round(median["direct"], 3),
        "up_s": round(up_s, 2),
        "memory_mb": round(sum(memory.values()), 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
