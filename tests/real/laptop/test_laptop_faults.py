"""What a client notices when a part of the instance dies: as little as can be."""

import asyncio
import os
import signal
import time
from pathlib import Path

import aiohttp

from harness.laptop import ROOT, Laptop
from harness.load import load

CHAT = {
    "model": "smollm2",
    "messages": [{"role": "user", "content": "Count to ten."}],
    "stream": True,
    "max_tokens": 16,
}


async def test_a_replica_killed_under_load_fails_no_request_that_had_not_begun_and_comes_back(
    own_instance: Laptop,
) -> None:
    victim = own_instance.service()["replicas"][0]
    async with load(own_instance.url, "smollm2") as clients:
        os.kill(victim["pid"], signal.SIGKILL)
        await clients.more(20)
        await asyncio.to_thread(
            own_instance.wait_until,
            lambda status: all(r["ready"] and r["pid"] != victim["pid"] for r in status["services"][0]["replicas"]),
        )
        picks = own_instance.service()["replicas"][0]["picks"]
        await clients.more(20)
        assert own_instance.service()["replicas"][0]["picks"] > picks
    assert clients.refused == []


async def test_the_picker_killed_under_load_fails_no_request_and_picks_resume(own_instance: Laptop) -> None:
    victim = own_instance.pid("picker")
    async with load(own_instance.url, "smollm2") as clients:
        os.kill(victim, signal.SIGKILL)
        await clients.more(20)
        await asyncio.to_thread(
            own_instance.wait_until,
            lambda status: (
                status["gateway"]["picks"] > 0
                and any(p["name"] == "picker" and p["ready"] and p["pid"] != victim for p in status["components"])
            ),
        )
    assert clients.refused == []
    assert clients.cut == 0
    assert own_instance.status()["gateway"]["fail_opens"] > 0


async def test_envoy_killed_serves_again_within_seconds(own_instance: Laptop) -> None:
    victim = own_instance.pid("envoy")
    os.kill(victim, signal.SIGKILL)
    begun = time.monotonic()
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.post(f"{own_instance.url}/v1/chat/completions", json=CHAT) as response:
                    if response.status == 200:
                        await response.read()
                        break
            except aiohttp.ClientError:
                pass
            assert time.monotonic() - begun < 20
            await asyncio.sleep(0.02)
    assert own_instance.pid("envoy") != victim


async def test_the_gateway_controller_killed_is_not_noticed(own_instance: Laptop) -> None:
    async with load(own_instance.url, "smollm2") as clients:
        os.kill(own_instance.pid("gateway"), signal.SIGKILL)
        await clients.more(20)
    assert clients.refused == []
    assert clients.cut == 0


async def test_a_replica_made_ten_times_slower_gets_at_most_a_fifth_of_the_picks(own_instance: Laptop) -> None:
    slow = own_instance.service()["replicas"][0]

    async def hold_back() -> None:
        """Let the process run a tenth of the time, by stopping and continuing it."""
        while True:
            os.kill(slow["pid"], signal.SIGSTOP)
            await asyncio.sleep(0.09)
            os.kill(slow["pid"], signal.SIGCONT)
            await asyncio.sleep(0.01)

    brake = asyncio.create_task(hold_back())
    try:
        async with load(own_instance.url, "smollm2", clients=4) as clients:
            before = [replica["picks"] for replica in own_instance.service()["replicas"]]
            await clients.more(60, within_s=100)
            after = [replica["picks"] for replica in own_instance.service()["replicas"]]
    finally:
        brake.cancel()
        os.kill(slow["pid"], signal.SIGCONT)
    picks = [new - old for old, new in zip(before, after, strict=True)]
    assert picks[0] <= sum(picks) / 5, picks


async def test_a_replica_that_hangs_is_replaced_and_its_waiting_requests_are_answered_elsewhere(
    own_instance: Laptop,
) -> None:
    victim = own_instance.service()["replicas"][0]
    os.kill(victim["pid"], signal.SIGSTOP)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:

        async def ask() -> int:
            async with session.post(f"{own_instance.url}/v1/chat/completions", json=CHAT) as response:
                await response.read()
                return response.status

        assert await asyncio.gather(*(ask() for _ in range(6))) == [200] * 6
    await asyncio.to_thread(
        own_instance.wait_until,
        lambda status: all(r["ready"] and r["pid"] != victim["pid"] for r in status["services"][0]["replicas"]),
    )


async def test_a_changed_service_rolls_under_load_without_a_failed_request(
    own_instance: Laptop, tmp_path: Path
) -> None:
    before = {replica["pid"] for replica in own_instance.service()["replicas"]}
    changed = tmp_path / "changed.yaml"
    changed.write_text((ROOT / "examples" / "smollm2.yaml").read_text() + "  engine: {contextTokens: 1024}\n")
    async with load(own_instance.url, "smollm2") as clients:
        await asyncio.to_thread(own_instance.up, changed)
        await clients.more(20)
        after = {replica["pid"] for replica in own_instance.service()["replicas"]}
    assert len(after) == 2
    assert not before & after
    assert clients.refused == []
    assert clients.cut == 0


async def test_a_model_that_gets_another_name_is_served_under_the_old_one_until_the_new_one_answers(
    own_instance: Laptop, tmp_path: Path
) -> None:
    renamed = tmp_path / "renamed.yaml"
    renamed.write_text(
        (ROOT / "examples" / "smollm2.yaml").read_text().replace("model:", "model:\n    name: renamed", 1)
    )
    changing = asyncio.create_task(asyncio.to_thread(own_instance.up, renamed))
    answers: list[tuple[int, int]] = []
    async with aiohttp.ClientSession() as session:

        async def ask(model: str) -> int:
            body = CHAT | {"model": model, "max_tokens": 1, "stream": False}
            async with session.post(f"{own_instance.url}/v1/chat/completions", json=body) as response:
                return response.status

        while not changing.done():
            answers.append((await ask("smollm2"), await ask("renamed")))
    await changing
    old, new = [old for old, _ in answers], [new for _, new in answers]
    assert all(200 in both for both in answers), answers
    assert old == sorted(old), "the old name comes back"
    first = new.index(200)
    assert set(new[first:]) == {200}
    assert 200 in old
