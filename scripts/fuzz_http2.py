"""Torments the HTTP/2 server with frames, in sequences; `python scripts/fuzz_http2.py [FRAMES] [SEED]`.

Half of the sequences and more get past SETTINGS and have streams open. Beside them one connection behaves, and asks
after each sequence. Ends with an AssertionError that names the sequence's seed, or with what it came to.
"""

import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from harness.http2_client import Pair, Tally, torment


def main(frames: int, seed: int) -> None:
    """Run until so many frames were sent."""
    tally, healthy = Tally(), Pair()
    early_kb = 0
    while tally.frames < frames:
        torment(seed + tally.sequences, tally, healthy)
        if not early_kb and tally.frames > frames / 10:
            early_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    late_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{tally.frames} frames in {tally.sequences} sequences, {tally.with_streams} of them with open streams")
    print(f"{tally.broken} connections were ended; the most that one held was {tally.most_held} bytes")
    print(f"memory at most {early_kb} KB after a tenth, {late_kb} KB at the end")


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["1000000"])[0]), int((sys.argv[2:] or ["0"])[0]))
