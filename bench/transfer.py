"""What it takes to answer a prompt that another engine has computed, and whether the answers are the same.

Three llama.cpp engines with real weights and one thread each: one computes prompts, two answer; of these one shares
the memory that states lie in with the first, the other gets them over a socket. Answers are greedy, and compared with
those of the first engine with the same prefix in its cache. Run it with `make bench-transfer`.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from harness.engine import Engine, events
from harness.kv import PATH, SOURCE, answered, gained, greedy, kv_engine, prefill

ROOT = Path(__file__).resolve().parents[1]
PROMPTS = 50
SHORTEST, LONGEST = 10, 1500
BYTES_PER_TOKEN = 1.88
"""Of the pages of this project that have most tokens."""
TOKENS = 600
ANSWER_TOKENS = 48
AIMS = {"transfer_ms_600": 25.0, "reprefill / first token": 50.0}


def pages() -> str:
    """Give text that people wrote."""
    return "\n".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))


def prompts(count: int) -> Iterator[str]:
    """Give prompts of about `SHORTEST` to `LONGEST` tokens, in equal steps, from different places of the pages."""
    text = pages()
    for number in range(count):
        tokens = SHORTEST + (LONGEST - SHORTEST) * number / max(1, count - 1)
        begin = (len(text) - 6000) * number // count
        yield text[begin : begin + 40 + round((tokens - SHORTEST) * BYTES_PER_TOKEN)]


async def compare(first: Engine, second: Engine, count: int) -> dict[str, Any]:
    """Count how many answers are those of plain serving; the second engine must compute only the last token of each."""
    identical, lengths = 0, []
    for prompt in prompts(count):
        body = greedy(prompt, ANSWER_TOKENS)
        place = await prefill(first, body)
        before = await second.metrics()
        moved = await answered(second, body, kv_transfer_params=place)
        computed = gained(before, await second.metrics()).get(SOURCE % "local_compute", 0)
        if computed != 1:
            print(f"of a prompt of {place['remote_num_tokens']} tokens {computed:.0f} were computed again")
        identical += computed == 1 and moved == await answered(first, body)
        lengths.append(place["remote_num_tokens"])
    return {"prompts": count, "identical": identical, "shortest": min(lengths), "longest": max(lengths)}


async def first_token_ms(engine: Engine, body: dict[str, Any]) -> float:
    """Send a request and give how long its first token takes."""
    begun_s = time.monotonic()
    async with engine.http.post(PATH, json=body | {"stream": True}) as response:
        response.raise_for_status()
        await anext(events(response))
        took_ms = (time.monotonic() - begun_s) * 1000
        await response.read()
    return took_ms


async def pull(first: Engine, second: Engine, rounds: int) -> dict[str, list[float]]:
    """Give what one transfer takes, until it is in its slot, and until the first token: in ms, of each round."""
    figures: dict[str, list[float]] = {"transfer": [], "first_token": []}
    for number in range(rounds):
        body = greedy([(7 * place + 31 * number) % 4000 + 300 for place in range(TOKENS)], 4)
        parameters = await prefill(first, body)
        before = await second.metrics()
        figures["first_token"].append(await first_token_ms(second, body | {"kv_transfer_params": parameters}))
        grown = gained(before, await second.metrics())
        figures["transfer"].append(grown["vllm:nixl_xfer_time_seconds_sum"] * 1000)
    return figures


async def measure(rounds: int, count: int) -> dict[str, Any]:
    """Start the engines and measure everything."""
    async with contextlib.AsyncExitStack() as stack:
        elsewhere = stack.enter_context(tempfile.TemporaryDirectory(prefix="argosy-bench-", dir="/dev/shm"))
        first = await stack.enter_async_context(kv_engine(context=2048, parallel=4))
        near = await stack.enter_async_context(kv_engine(context=2048, parallel=4))
        far = await stack.enter_async_context(kv_engine("--kv-folder", elsewhere, context=2048, parallel=4))
        memory, wire = await pull(first, near, rounds), await pull(first, far, rounds)
        plain = greedy([(11 * place) % 4000 + 300 for place in range(TOKENS)], 4) | {"cache_prompt": False}
        again = [await first_token_ms(near, plain) for _ in range(rounds)]
        compared = await compare(first, near, count)
    rows = {
        "transfer, memory": memory["transfer"],
        "transfer, socket": wire["transfer"],
        "first token, memory": memory["first_token"],
        "first token, socket": wire["first_token"],
        "first token, computed again": again,
    }
    print(f"{'ms at 600 tokens':<28} {'median':>9} {'least':>9} {'most':>9}")
    for name, figures in rows.items():
        print(f"{name:<28} {statistics.median(figures):9.1f} {min(figures):9.1f} {max(figures):9.1f}")
    print(f"prompts of {compared['shortest']} to {compared['longest']} tokens: {compared['identical']} identical")
    return {
        "transfer_ms_600": statistics.median(memory["transfer"]),
        "first_token_ms_600": statistics.median(memory["first_token"]),
        "reprefill_ms_600": statistics.median(again),
        "prompts": compared["prompts"],
        "identical": compared["identical"],
    }


def main() -> None:
    """Print a table, each aim, and the figures as JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="how often to measure each (%(default)s)")
    parser.add_argument("--prompts", type=int, default=PROMPTS, help="how many answers to compare (%(default)s)")
    args = parser.parse_args()
    figures = asyncio.run(measure(args.rounds, args.prompts))
    gain = figures["reprefill_ms_600"] / figures["first_token_ms_600"]
    print(f"transfer_ms_600 {figures['transfer_ms_600']:.1f}  aim <= {AIMS['transfer_ms_600']:.0f}")
    print(f"reprefill / first token {gain:.0f}  aim >= {AIMS['reprefill / first token']:.0f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
