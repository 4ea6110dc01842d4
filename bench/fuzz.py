"""What a picker bears: a stateful fuzzer over sockets, and a peer beside it that is answered all the while.

Hostile peers, 32 at a time, each with a connection of its own, send a picker's process frames that are right, almost
right, and wrong: HTTP/2's, gRPC's and ext_proc's. It must stay alive, make no mistake, hold a bounded amount of memory,
and nothing once they are gone. Each round has a seed of its own and begins and ends with a picker at rest: it is
repeated by `--seed` and one round's `--frames`. Run it with `make bench-fuzz`.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from harness.hostile_peers import Tally, besiege, is_at_rest
from harness.picker_process import picker_process
from harness.usage import cpu_s, pss_mb
from harness.waiting import until
from idle import store_of

ENDPOINTS: Final = ["127.20.0.1", "127.20.0.2"]
ROUND_FRAMES: Final = 50_000
TARGETS: Final = {"grown_mb": 32.0}


async def measure(seed: int, most_frames: int, folder: Path) -> dict[str, float]:
    """Attack a picker, round by round."""
    tallies: list[Tally] = []
    memory_mb: list[float] = []
    print(f"{'seed':>6} {'frames':>9} {'sequences':>9} {'with streams':>12} {'broken':>7} {'healthy':>8} {'PSS MB':>7}")
    async with store_of(folder, ENDPOINTS) as store, picker_process(store, folder) as picker:
        memory_mb.append(pss_mb(picker.pid))
        while (left := most_frames - sum(each.frames for each in tallies)) > 0:
            tally = Tally()
            await besiege(picker, seed, min(left, ROUND_FRAMES), tally)
            await until(lambda: is_at_rest(picker))
            tallies.append(tally)
            memory_mb.append(pss_mb(picker.pid))
            numbers = f"{tally.frames:9} {tally.sequences:9} {tally.with_streams:12} {tally.broken:7} {tally.healthy:8}"
            print(f"{seed:6} {numbers} {memory_mb[-1]:7.1f}", flush=True)
            seed += 1
        sequences = sum(each.sequences for each in tallies)
        return {
            "frames": sum(each.frames for each in tallies),
            "sequences": sequences,
            "past_settings_share": sum(each.past_settings for each in tallies) / sequences,
            "with_streams_share": sum(each.with_streams for each in tallies) / sequences,
            "broken_share": sum(each.broken for each in tallies) / sequences,
            "healthy_calls": sum(each.healthy for each in tallies),
            "decided": await picker.metric("argosy_requests_total") + await picker.metric("argosy_refused_total"),
            "idle_mb": memory_mb[0],
            "warm_mb": memory_mb[1],
            "grown_mb": max(memory_mb) - memory_mb[1],
            "picker_cpu_s": cpu_s(picker.pid),
        }


def main() -> None:
    """Print each round, each figure beside its aim, and all of them as JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000, help="how many frames to send (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first round (%(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(args.seed, args.frames, Path(folder)))
    for name, figure in figures.items():
        aim = f"  aim <= {TARGETS[name]}  ratio {figure / TARGETS[name]:.2f}" if name in TARGETS else ""
        print(f"{name:<20} {figure:12.3f}{aim}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
