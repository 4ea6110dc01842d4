"""What a child process says of its page faults, which are those of the allocator."""

import subprocess
import sys

TURNS, BLOCKS, BYTES = 50, 8, 1_000_000
CHILD = f"""
import resource, sys
from argosy.edge.processes.allocator import keep_freed_memory
keeps = sys.argv[1] == "keep" and keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({TURNS}):
    blocks = [bytes({BYTES}) for _ in range({BLOCKS})]
    del blocks
print(int(keeps), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(word: str) -> tuple[bool, int]:
    answer = subprocess.run([sys.executable, "-c", CHILD, word], capture_output=True, text=True, check=True)
    keeps, count = map(int, answer.stdout.split())
    return bool(keeps), count


def test_memory_that_is_freed_is_there_for_the_next_body() -> None:
    pages = BLOCKS * BYTES // 4096
    keeps, count = faults("keep")
    if keeps:
        assert count < 2 * pages
        assert faults("leave")[1] > 4 * pages
