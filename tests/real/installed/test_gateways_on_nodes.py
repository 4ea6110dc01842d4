"""Argosy installed on three nodes, and nothing of Argosy's to serve: pods, pools and routes of somebody else's."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest

from argosy.api.names import SYSTEM_NAMESPACE
from harness.control_plane import ControlPlane
from harness.installed import installation, rolled_out
from harness.load import Load, load
from harness.nodes import Nodes
from harness.strangers import ENGINE, ENGINE_IMAGE, engine_objects, route
from harness.waiting import until

pytestmark = pytest.mark.timeout(400)
Apply = Callable[..., None]


@pytest.fixture(scope="module")
def there(cluster: ControlPlane, nodes: Nodes) -> Iterator[str]:
    """The installation; gives its Gateway's URL."""
    nodes.add_images({ENGINE_IMAGE: ENGINE})
    with cluster.network.inside(), installation(cluster) as url:
        yield url


@pytest.fixture
def apply(there: str, cluster: ControlPlane, namespace: str) -> Iterator[Apply]:
    """Applies objects in the test's namespace, which goes with them when the test ends."""
    assert there

    def applied(*objects: dict[str, Any]) -> None:
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        cluster.kubectl("apply", f"--namespace={namespace}", "--filename=-", stdin=listed)

    yield applied
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


class Kubectl:
    """kubectl beside an event loop that goes on."""

    def __init__(self, cluster: ControlPlane, namespace: str) -> None:
        self._cluster = cluster
        self.namespace = namespace

    async def __call__(self, *args: str) -> str:
        return await asyncio.to_thread(self._cluster.kubectl, *args, f"--namespace={self.namespace}")

    async def get(self, *args: str) -> Any:
        return json.loads(await self("get", *args, "--output=json", "--ignore-not-found") or "{}")

    async def rolled_out(self, deployment: str) -> None:
        await asyncio.to_thread(rolled_out, self._cluster, self.namespace, deployment)


@pytest.fixture
def system(cluster: ControlPlane) -> Kubectl:
    return Kubectl(cluster, SYSTEM_NAMESPACE)


@pytest.fixture
def mine(cluster: ControlPlane, namespace: str) -> Kubectl:
    return Kubectl(cluster, namespace)


async def address_of(kubectl: Kubectl, gateway: str) -> str:
    """Give the URL that a Gateway says it is reached at, once it is programmed."""
    found: dict[str, Any] = {}

    async def programmed() -> bool:
        found.update(await kubectl.get("gateway", gateway))
        conditions = {each["type"]: each["status"] for each in found["status"].get("conditions", ())}
        return conditions.get("Programmed") == "True" and bool(found["status"].get("addresses"))

    await until(programmed, within_s=60)
    return f"http://{found['status']['addresses'][0]['value']}:{found['spec']['listeners'][0]['port']}"


async def answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as client, client.post(url, data=b"hello") as answer:
            return answer.status == 200 and b"[DONE]" in await answer.read()
    except aiohttp.ClientError:
        return False


async def test_a_gateway_object_alone_brings_envoys_up_that_serve_and_go_with_it(apply: Apply, mine: Kubectl) -> None:
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    gateway = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "edge"},
        "spec": {"gatewayClassName": "argosy", "listeners": [listener]},
    }
    path = route("theirs", "/", gateway="edge", namespace=mine.namespace)
    apply(gateway, *engine_objects("theirs", replicas=1, picker=True), path)
    url = await address_of(mine, "edge")
    service = await mine.get("service", "edge-envoy")
    assert url == f"http://{service['status']['loadBalancer']['ingress'][0]['ip']}:80"
    for address in (url, f"http://{service['spec']['clusterIP']}"):
        await until(lambda address=address: answers(address), within_s=60)
    pods = await mine.get("pods", "--selector=gateway.networking.k8s.io/gateway-name=edge")
    assert len({pod["spec"]["nodeName"] for pod in pods["items"]}) == 2
    await mine("delete", "deployment,service,poddisruptionbudget", "edge-envoy")
    await mine.rolled_out("edge-envoy")
    assert await answers(await address_of(mine, "edge"))
    slices = await mine.get("endpointslices", "--selector=kubernetes.io/service-name=argosy-picker")
    assert len(slices["items"][0]["endpoints"]) == 2, "the pool's own picker Service leads to both pickers"
    (parent,) = (await mine.get("inferencepool", "theirs"))["status"]["parents"]
    assert {each["type"]: each["status"] for each in parent["conditions"]} == {
        "Accepted": "True",
        "ResolvedRefs": "True",
    }
    await mine("delete", "gateway", "edge")

    async def gone() -> bool:
        return not (await mine.get("deployment,service,poddisruptionbudget,serviceaccount", "edge-envoy")).get("items")

    await until(gone, within_s=60)


@pytest.fixture
async def url(there: str, apply: Apply, mine: Kubectl) -> str:
    """The installation's Gateway, before two pools of somebody's pods, one of which names the pickers."""
    for name, picker in (("named", True), ("unnamed", False)):
        apply(*engine_objects(name, replicas=2, picker=picker), route(name, f"/{mine.namespace}/{name}"))
    base = f"{there}/{mine.namespace}"
    for name in ("named", "unnamed"):
        await mine.rolled_out(name)
        await until(lambda name=name: answers(f"{base}/{name}/v1/chat/completions"))
    return base


async def picks(system: Kubectl) -> int:
    """Give what all pickers have picked."""
    pods = (await system.get("pods", "--selector=app.kubernetes.io/name=argosy-picker"))["items"]
    total = 0
    async with aiohttp.ClientSession() as client:
        for pod in pods:
            async with client.get(f"http://{pod['status']['podIP']}:18090/metrics") as page:
                lines = (await page.text()).splitlines()
            total += sum(int(float(line.split()[-1])) for line in lines if line.startswith("argosy_picks_total"))
    return total


async def test_pods_that_somebody_rolls_out_and_scales_fail_no_request(
    url: str, mine: Kubectl, system: Kubectl
) -> None:
    async with load(f"{url}/named", "anything") as named, load(f"{url}/unnamed", "something") as unnamed:
        before = await picks(system)
        for deployment in ("named", "unnamed"):
            await mine("rollout", "restart", f"deployment/{deployment}")
        for deployment in ("named", "unnamed"):
            await mine.rolled_out(deployment)
        await mine("scale", "deployment/named", "--replicas=4")
        await mine.rolled_out("named")
        await mine("scale", "deployment/named", "--replicas=1")
        await mine.rolled_out("named")
        await both_more(named, unnamed)
        assert await picks(system) > before
    named.check()
    unnamed.check()


async def test_rolling_envoys_fails_no_request_on_kept_and_fresh_connections(url: str, system: Kubectl) -> None:
    async with load(f"{url}/named", "m") as fresh, load(f"{url}/named", "m", kept=True) as kept:
        await system("rollout", "restart", "deployment/argosy-envoy")
        await system.rolled_out("argosy-envoy")
        await both_more(fresh, kept)
        await until(lambda: none_is_ending(system), within_s=60)
        await both_more(fresh, kept)
    fresh.check()
    kept.check()


async def none_is_ending(system: Kubectl) -> bool:
    return not any("deletionTimestamp" in pod["metadata"] for pod in (await system.get("pods"))["items"])


async def both_more(first: Load, second: Load) -> None:
    await first.more(30)
    await second.more(30)


async def test_pickers_and_gateways_die_and_roll_and_no_request_fails(url: str, system: Kubectl) -> None:
    async with load(f"{url}/named", "m") as fresh, load(f"{url}/unnamed", "m", kept=True) as kept:
        for name in ("picker", "gateway"):
            selector = f"--selector=app.kubernetes.io/name=argosy-{name}"
            pods = sorted(
                (await system.get("pods", selector))["items"], key=lambda pod: pod["metadata"]["creationTimestamp"]
            )
            await system("delete", "pod", pods[0]["metadata"]["name"], "--grace-period=0", "--force")
            await both_more(fresh, kept)
            await system.rolled_out(f"argosy-{name}")
            await system("rollout", "restart", f"deployment/argosy-{name}")
            await system.rolled_out(f"argosy-{name}")
            await both_more(fresh, kept)
    fresh.check()
    kept.check()
