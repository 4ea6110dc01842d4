"""One word switches the profile of a service that answers, and a threshold changes: no request fails."""

import asyncio
from pathlib import Path

from harness.kv import moved_tokens
from harness.laptop import ROOT, Laptop
from harness.load import load

STANDARD = ROOT / "examples" / "smollm2.yaml"
APART = ROOT / "examples" / "disaggregated.yaml"


def moved(instance: Laptop) -> int:
    """Give how many tokens decode workers were handed."""
    replicas = instance.service()["replicas"]
    return moved_tokens(each["address"] for each in replicas if each["role"] == "decode")


def pids(instance: Laptop) -> dict[str, int]:
    """Give the processes of a service's replicas by name."""
    return {replica["name"]: replica["pid"] for replica in instance.service()["replicas"]}


async def test_profiles_and_thresholds_change_under_load_without_a_failed_request(
    instance: Laptop, tmp_path: Path
) -> None:
    lower = tmp_path / "lower.yaml"
    lower.write_text(APART.read_text().replace("thresholdTokens: 128", "thresholdTokens: 8"))
    async with load(instance.url, "smollm2", clients=3, prompt_words=12) as clients:
        await asyncio.to_thread(instance.up, APART)
        apart = await asyncio.to_thread(pids, instance)
        assert sorted(apart) == [f"smollm2-{role}-{number}" for role in ("decode", "prefill") for number in (0, 1)]
        await clients.more(3)
        await asyncio.to_thread(instance.up, lower)
        await clients.more(6)
        assert await asyncio.to_thread(pids, instance) == apart
        assert await asyncio.to_thread(moved, instance)
        await asyncio.to_thread(instance.up, STANDARD)
        assert sorted(await asyncio.to_thread(pids, instance)) == ["smollm2-0", "smollm2-1"]
        await clients.more(6)
    clients.check()


async def test_a_switch_that_is_taken_back_before_it_is_through_leaves_the_workers_that_served(
    instance: Laptop, tmp_path: Path
) -> None:
    # One replica has both CPUs of a small machine, and keeps them while others start beside it.
    one = tmp_path / "one.yaml"
    one.write_text(STANDARD.read_text().replace("replicas: 2", "replicas: 1"))
    await asyncio.to_thread(instance.up, one)
    before = await asyncio.to_thread(pids, instance)
    async with load(instance.url, "smollm2", clients=3) as clients:
        switching = asyncio.create_task(asyncio.to_thread(instance.up, APART))
        await asyncio.to_thread(
            instance.wait_until, lambda status: any(r["role"] == "decode" for r in status["services"][0]["replicas"])
        )
        await asyncio.to_thread(instance.up, one)
        await switching
        assert await asyncio.to_thread(pids, instance) == before
        await clients.more(3)
    clients.check()
    await asyncio.to_thread(instance.up, STANDARD)
