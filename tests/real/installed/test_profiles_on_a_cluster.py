"""Prefill and decode apart on a cluster: on nodes of their own, and back, while requests go on."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from argosy.api.names import ENGINE_PORT
from harness.control_plane import ControlPlane
from harness.installed import installation
from harness.kv import moved_tokens
from harness.load import load
from harness.nodes import Nodes
from harness.served import ROLL_S, Served
from harness.waiting import until

WIDE, NARROW = "node-1", "node-2"


@pytest.fixture(scope="module")
def home(cluster: ControlPlane, nodes: Nodes) -> Iterator[Served]:
    """A namespace where Argosy is installed, with nodes of two kinds."""
    assert nodes
    with cluster.network.inside(), installation(cluster) as url:
        cluster.kubectl("create", "namespace", "apart")
        cluster.kubectl("label", "node", WIDE, "pool=wide")
        cluster.kubectl("label", "node", NARROW, "pool=narrow")
        yield Served(cluster, "apart", url)
        cluster.kubectl("delete", "namespace", "apart", "--wait=false")


def on(pool: str, **role: Any) -> dict[str, Any]:
    return {"hardware": {"cpu": "100m", "nodeSelector": {"pool": pool}}, **role}


def split(threshold: int = 32, **roles: Any) -> dict[str, Any]:
    """Give what makes a service one of two roles, each on nodes of one kind."""
    serving = {"profile": "disaggregated", "disaggregation": {"thresholdTokens": threshold}}
    return {"serving": serving, "workers": {"prefill": on("wide"), "decode": on("narrow"), **roles}}


async def running(home: Served) -> dict[str, tuple[str, str]]:
    """Give each pod's role and node, by its uid."""
    pods = json.loads(await home.kubectl("get", "pods", "--output=json"))["items"]
    return {
        pod["metadata"]["uid"]: (pod["metadata"]["labels"]["argosy.dev/workers"], pod["spec"]["nodeName"])
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
    }


async def moved(home: Served) -> int:
    """Give how many tokens decode workers were handed."""
    selector = "--selector=argosy.dev/workers=decode"
    addresses = await home.kubectl("get", "pods", selector, "--output=jsonpath={.items[*].status.podIP}")
    return await asyncio.to_thread(moved_tokens, [f"{each}:{ENGINE_PORT}" for each in addresses.split()])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("killed", [False, True], ids=["", "operator killed meanwhile"])
async def test_a_service_is_split_and_joined_under_load_without_a_failed_request(home: Served, *, killed: bool) -> None:
    await home.apply(replicas=1)
    await home.until_settled(replicas=1)
    async with load(home.url, home.model(), clients=2, prompt_words=6) as clients:
        await home.apply(**split())
        if killed:
            await home.kill_operator()
        await home.until_settled(replicas=2)
        apart = await running(home)
        assert sorted(apart.values()) == [("decode", NARROW), ("prefill", WIDE)]
        roles = (await home.status())["roles"]
        assert roles == [{"name": role, "replicas": 1, "readyReplicas": 1} for role in ("prefill", "decode")]
        await clients.more(4)
        await home.apply(**split(8))
        await home.until_settled(replicas=2)
        await clients.more(4)
        assert await running(home) == apart
        assert await moved(home)
        await home.apply(**split(prefill=on("wide", replicas=2)))
        await home.until_settled(replicas=3)
        assert apart.items() < (await running(home)).items()
        await home.apply(replicas=1)
        if killed:
            await home.kill_operator()
        await home.until_settled(replicas=1)
        assert [role for role, _ in (await running(home)).values()] == ["serve"]
        await clients.more(4)
    clients.check()


@pytest.mark.timeout(300)
async def test_roles_that_fit_on_no_node_leave_the_old_workers_serving_and_say_why(home: Served) -> None:
    await home.apply(replicas=1)
    await home.until_settled(replicas=1)
    before = await running(home)
    async with load(home.url, home.model(), clients=1) as clients:
        await home.apply(**split(decode=on("nowhere")))

        async def explained() -> bool:
            reason, message = await home.progressing()
            return reason == "Starting" and "selector" in message and "1 standard worker stays until then." in message

        await until(explained, within_s=ROLL_S)
        await clients.more(2)
        await home.apply(replicas=1)
        await home.until_settled(replicas=1)
        assert await running(home) == before
    clients.check()
