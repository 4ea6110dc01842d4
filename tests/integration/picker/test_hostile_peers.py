"""A picker among peers that break every rule: a share of `make bench-fuzz`."""

from pathlib import Path

from harness.hostile_peers import Tally, besiege, is_at_rest
from harness.picker_process import picker_process
from harness.usage import pss_mb
from harness.waiting import until

FRAMES = 40_000
SEED = 1
MOST_GROWN_MB = 32


async def test_a_picker_bears_hostile_peers_and_answers_a_healthy_one_all_the_while(
    store_address: str, tmp_path: Path
) -> None:
    tally = Tally()
    async with picker_process(store_address, tmp_path) as picker:
        idle_mb = pss_mb(picker.pid)
        await besiege(picker, SEED, FRAMES, tally)
        await until(lambda: is_at_rest(picker))
        assert pss_mb(picker.pid) - idle_mb < MOST_GROWN_MB
    assert tally.frames >= FRAMES
    assert tally.with_streams > tally.sequences / 2
    assert tally.healthy > 20
