"""One word switches the profile of a service that answers, a threshold changes, roles shrink: no request fails."""

import asyncio
import os
import signal
from pathlib import Path

from argosy.api.kubernetes import Pod
from argosy.api.objects import Key
from argosy.apps.local.state import StateDirectory
from argosy.edge.kube.remote import RemoteStore
from harness.kv import moved_tokens
from harness.laptop import ROOT, Laptop
from harness.load import load
from harness.waiting import until

STANDARD = ROOT / "examples" / "smollm2.yaml"
APART = ROOT / "examples" / "disaggregated.yaml"


def moved(instance: Laptop) -> int:
    """Give how many tokens decode workers were handed."""
    replicas = instance.service()["replicas"]
    return moved_tokens(each["address"] for each in replicas if each["role"] == "decode")


def pids(instance: Laptop) -> dict[str, int]:
    """Give the processes of a service's replicas by name."""
    return {replica["name"]: replica["pid"] for replica in instance.service()["replicas"]}


async def test_profiles_thresholds_and_workers_change_under_load_without_a_failed_request(
    instance: Laptop, tmp_path: Path
) -> None:
    lower = tmp_path / "lower.yaml"
    lower.write_text(APART.read_text().replace("thresholdTokens: 128", "thresholdTokens: 8"))
    fewer = tmp_path / "fewer.yaml"
    fewer.write_text(lower.read_text().replace("replicas: 2", "replicas: 1"))
    async with load(instance.url, "smollm2", clients=3, prompt_words=12) as clients:
        await asyncio.to_thread(instance.up, APART)
        apart = await asyncio.to_thread(pids, instance)
        assert sorted(apart) == [f"smollm2-{role}-{number}" for role in ("decode", "prefill") for number in (0, 1)]
        await clients.more(3)
        await asyncio.to_thread(instance.up, lower)
        await clients.more(6)
        assert await asyncio.to_thread(pids, instance) == apart
        assert await asyncio.to_thread(moved, instance)
        await asyncio.to_thread(instance.up, fewer)
        assert sorted(await asyncio.to_thread(pids, instance)) == ["smollm2-decode-0", "smollm2-prefill-0"]
        await clients.more(3)
        await asyncio.to_thread(instance.up, STANDARD)
        assert sorted(await asyncio.to_thread(pids, instance)) == ["smollm2-0", "smollm2-1"]
        await clients.more(6)
    clients.check()


async def started(state: Path, replica: str) -> int:
    """Give the process of a replica once it runs, or 0."""
    async with RemoteStore(StateDirectory(state).address) as store:
        pod = await store.get(Pod, Key("default", replica))
    statuses = pod.status.container_statuses if pod else ()
    return next((each.state["running"]["pid"] for each in statuses if "running" in each.state), 0)


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
        coming = await until(lambda: started(instance.state, "smollm2-decode-0"))
        os.kill(coming, signal.SIGSTOP)  # so that the switch cannot be through before it is taken back
        try:
            await asyncio.to_thread(instance.up, one)
        finally:
            os.kill(coming, signal.SIGCONT)
        await switching
        assert await asyncio.to_thread(pids, instance) == before
        await clients.more(3)
    clients.check()
    await asyncio.to_thread(instance.up, STANDARD)
