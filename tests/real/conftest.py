"""One real control plane, without nodes, for the tests of this folder; each test runs inside its cluster's network."""

from collections.abc import AsyncIterator, Iterator

import pytest

from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.connection import settings_of_kubeconfig
from harness import go_programs
from harness import nodes as harness_nodes
from harness.control_plane import ControlPlane, cannot_run_reason, control_plane
from harness.kinds import install_kinds
from harness.nodes import Nodes, running_nodes
from harness.space import Space

pytest.register_assert_rewrite("contracts.store_contract")


@pytest.fixture(scope="session")
def can_run() -> None:
    """Skip, with the reason, where no control plane can run."""
    reason = cannot_run_reason()
    if reason is None and not go_programs.built():
        reason = "the control plane is not built; `make test-real` builds it"
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, can_run: None) -> Iterator[ControlPlane]:
    """A control plane that knows our kinds and those of the Gateway API and the Inference Extension."""
    assert can_run is None
    with control_plane(tmp_path_factory.mktemp("cluster")) as running:
        install_kinds(running)
        yield running


@pytest.fixture(scope="module")
def nodes(cluster: ControlPlane) -> Iterator[Nodes]:
    """Three nodes for the cluster of a file: whoever has them has a cluster of its own, as pods run from here on."""
    reason = harness_nodes.cannot_run_reason()
    if reason is not None:
        pytest.skip(reason)
    with running_nodes(cluster) as running:
        yield running


@pytest.fixture(scope="module")
def space(cluster: ControlPlane, nodes: Nodes) -> Iterator[Space]:
    """A namespace with nodes under it, for the tests of a file."""
    with cluster.network.inside():
        yield Space(cluster, nodes)


@pytest.fixture(autouse=True)
def inside(cluster: ControlPlane) -> Iterator[None]:
    """The test's connections and children belong to the cluster's network."""
    with cluster.network.inside():
        yield


@pytest.fixture
async def store(cluster: ControlPlane) -> AsyncIterator[KubernetesStore]:
    async with KubernetesStore(settings_of_kubeconfig(cluster.kubeconfig)) as opened:
        yield opened


@pytest.fixture
def namespace(cluster: ControlPlane, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    name = f"test-{abs(hash(request.node.nodeid)):x}"
    cluster.kubectl("create", "namespace", name)
    return name
