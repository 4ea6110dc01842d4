"""How much of prompts is found in caches, and how long the first token takes, for each policy, on a recorded trace.

A trace is replayed through the scheduling code that pickers run, against 8 modelled engines: each has a cache of so
many blocks of 512 tokens (whole blocks, least recently used, in place when the request arrives, answers not kept), and
computes prompts one after the other at 20,000 tokens/s; a first token takes 50 ms more. Everything is virtual and
exact: the same trace gives the same table. `bound` is one endless cache for all, before 8 such queues.

Run it with `make bench-prefix ARGS="--trace FILE"`; FILE has a line of JSON for each request, packed by gzip or not:
`{"timestamp": ms, "input_length": tokens, "hash_ids": [block, …]}`, as Mooncake publishes its traces. Without one it
makes one: conversations that all begin alike and go on at their own pace.
"""

import argparse
import gzip
import itertools
import json
import math
import random
from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from argosy.api.scheduling import DEFAULT
from argosy.base.endpoint import Endpoint
from argosy.decide.prefixes.prompt import BLOCK_BYTES, BYTES_PER_TOKEN, Prompt
from argosy.decide.scheduling.beliefs import Beliefs, Wanted
from argosy.decide.scheduling.plugins import Asked
from argosy.decide.scheduling.profiles import PROFILES, Profile, built
from argosy.decide.scheduling.schedule import schedule
from argosy.edge.plugins import installed_plugins

ENGINES = 8
TOKENS_PER_S = 20_000.0
FIXED_S = 0.05
BLOCK_TOKENS = 512
PARTS = int(BLOCK_TOKENS * BYTES_PER_TOKEN / BLOCK_BYTES)
"""Blocks of the index for one of the trace."""
BLOCKS = (600, 2000, 10000)
SPEEDS = (1.0, 3.0, 4.0)


class Arrival(NamedTuple):
    """One request of a trace."""

    at_s: float
    tokens: int
    blocks: tuple[int, ...]


class Result(NamedTuple):
    """What came of a replay: the share of prompt tokens found, seconds to the first token."""

    reuse: float
    ttft_mean_s: float
    ttft_p99_s: float


class Cache:
    """An engine's prefix cache; without a room it is endless."""

    def __init__(self, room: int | None) -> None:
        self._room = room
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def take(self, blocks: tuple[int, ...]) -> int:
        """Give how many of the first blocks are there, and hold them all from now on."""
        held = self._blocks
        found = next((n for n, block in enumerate(blocks) if block not in held), len(blocks))
        for block in reversed(blocks):
            held[block] = None
            held.move_to_end(block)
        while self._room is not None and len(held) > self._room:
            held.popitem(last=False)
        return found


def arrivals(path: Path) -> list[Arrival]:
    """Read a trace. Raises ValueError that names the line at fault."""
    opened = gzip.open if path.suffix == ".gz" else open
    found = []
    with opened(path, "rt") as lines:
        for number, line in enumerate(lines, 1):
            try:
                said = json.loads(line)
                tokens = int(said["input_length"])
                whole = tuple(map(int, said["hash_ids"]))[: tokens // BLOCK_TOKENS]
                found.append(Arrival(float(said["timestamp"]) / 1000, tokens, whole))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: {error!r}; see --help for what a trace is") from error
    return sorted(found, key=lambda each: each.at_s)


def conversations(count: int = 900, over_s: float = 1800.0) -> list[Arrival]:
    """Make a trace: conversations of 1 to 12 turns that share their first block, always the same."""
    rng = random.Random(7)
    fresh = itertools.count(1)
    made: list[Arrival] = []
    for _ in range(count):
        at_s, blocks = rng.uniform(0.0, over_s), [0]
        for _ in range(rng.randint(1, 12)):
            blocks = [*blocks, *itertools.islice(fresh, 1 + int(rng.expovariate(0.25)))]
            made.append(Arrival(at_s, len(blocks) * BLOCK_TOKENS + rng.randrange(BLOCK_TOKENS), tuple(blocks)))
            at_s += rng.expovariate(1 / 30.0)
    return sorted(made, key=lambda each: each.at_s)


def prompt_of(arrival: Arrival) -> Prompt:
    """Give the prompt as a picker sees it, whose blocks are smaller than the trace's."""
    blocks = tuple(block * PARTS + part for block in arrival.blocks for part in range(PARTS))
    return Prompt(blocks, (), arrival.tokens / BLOCK_TOKENS * PARTS)


def replay(trace: list[Arrival], profile: Profile, room: int, speed: float) -> Result:
    """Send a trace to 8 engines as a picker would."""
    endpoints = [Endpoint("10.0.0.1", 8000 + number) for number in range(ENGINES)]
    beliefs = Beliefs(room=room * PARTS)
    everywhere = beliefs.set_of(endpoints)
    caches = {endpoint: Cache(room) for endpoint in endpoints}
    free_at_s = dict.fromkeys(endpoints, 0.0)
    running: dict[Endpoint, deque[tuple[float, int]]] = {endpoint: deque() for endpoint in endpoints}
    found, waits = 0, []
    for arrival in trace:
        now_s = arrival.at_s / speed
        done = [running[each].popleft() for each in endpoints for _ in _until(running[each], now_s)]
        for ended_s, reservation in sorted(done):
            beliefs.release(reservation, ended_s, answered=True)
        wanted = Wanted(prompt_of(arrival))
        candidates = beliefs.candidates(everywhere, wanted, profile.columns, now_s)
        decision = schedule(profile, Asked(wanted.prompt.size, busy=beliefs.busy), candidates)
        picked = decision.endpoints[0]
        matched = candidates.columns["matched"][decision.order[0]] if profile.of_prompts else 0.0
        reservation = beliefs.reserve(picked, wanted, now_s, matched=matched)
        cached = caches[picked].take(arrival.blocks) * BLOCK_TOKENS
        found += cached
        ends_s = max(now_s, free_at_s[picked]) + (arrival.tokens - cached) / TOKENS_PER_S
        free_at_s[picked] = ends_s
        running[picked].append((ends_s, reservation))
        waits.append(ends_s - now_s + FIXED_S)
    return _result(trace, found, waits)


def _until(running: deque[tuple[float, int]], now_s: float) -> Iterator[None]:
    """Give something for each request that has ended by now; each is to be taken out before the next is asked for."""
    while running and running[0][0] <= now_s:
        yield


def bound(trace: list[Arrival], speed: float) -> Result:
    """Give what no policy can beat: every block that was ever computed is found, before 8 queues."""
    cache, free_at_s, found, waits = Cache(None), [0.0] * ENGINES, 0, []
    for arrival in trace:
        now_s = arrival.at_s / speed
        cached = cache.take(arrival.blocks) * BLOCK_TOKENS
        found += cached
        first = min(range(ENGINES), key=free_at_s.__getitem__)
        free_at_s[first] = max(now_s, free_at_s[first]) + (arrival.tokens - cached) / TOKENS_PER_S
        waits.append(free_at_s[first] - now_s + FIXED_S)
    return _result(trace, found, waits)


def _result(trace: list[Arrival], found: int, waits: list[float]) -> Result:
    waits.sort()
    tokens = sum(arrival.tokens for arrival in trace)
    return Result(found / tokens, sum(waits) / len(waits), waits[math.ceil(0.99 * len(waits)) - 1])


def main() -> None:
    """Print a table for each cache and speed, and all of it as JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path, help="the trace to replay (default: one that is made)")
    parser.add_argument("--policies", nargs="+", default=list(PROFILES), choices=list(PROFILES), metavar="POLICY")
    parser.add_argument("--blocks", nargs="+", type=int, default=BLOCKS, help="rooms of a cache, in blocks")
    parser.add_argument("--speeds", nargs="+", type=float, default=SPEEDS, help="how many times as fast as recorded")
    args = parser.parse_args()
    try:
        trace = conversations() if args.trace is None else arrivals(args.trace)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if not trace:
        parser.error(f"{args.trace} has no requests")
    plugins = installed_plugins()
    cells = []
    for blocks in args.blocks:
        for speed in args.speeds:
            print(f"\n{blocks} blocks, x{speed:g}: policy, reuse, mean and p99 time to first token in s")
            best: dict[str, Result] = {}
            for policy in args.policies:
                best[policy] = replay(trace, built(PROFILES[policy], plugins), blocks, speed)
                _print(policy, best[policy])
                cells.append({"policy": policy, "blocks": blocks, "speed": speed, **best[policy]._asdict()})
            _print("bound", bound(trace, speed))
            cells.append({"policy": "bound", "blocks": blocks, "speed": speed, **bound(trace, speed)._asdict()})
            if DEFAULT in best and min(best, key=lambda each: best[each].ttft_mean_s) != DEFAULT:
                better = [name for name in best if best[name].ttft_mean_s < best[DEFAULT].ttft_mean_s]
                print(f"  the default is not the best here: {', '.join(better)}")
    print(json.dumps({"cells": cells}))


def _print(policy: str, result: Result) -> None:
    print(f"  {policy:<22} {result.reuse:6.3f} {result.ttft_mean_s:8.3f} {result.ttft_p99_s:8.2f}", flush=True)


if __name__ == "__main__":
    main()
