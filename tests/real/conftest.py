"""One real control plane for all tests of this folder; each test runs inside its network."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from argosy.api.crd import crd
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.connection import settings_of_kubeconfig
from harness import go_programs
from harness.control_plane import ControlPlane, cannot_run_reason, control_plane

pytest.register_assert_rewrite("contracts.store_contract")

PUBLISHED = Path(__file__).resolve().parents[2] / "third_party" / "crds"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that knows our kinds and those of the Gateway API and the Inference Extension."""
    reason = cannot_run_reason()
    if reason is None and not go_programs.built():
        reason = "the control plane is not built; `make test-real` builds it"
    if reason is not None:
        pytest.skip(reason)
    with control_plane(tmp_path_factory.mktemp("cluster")) as running:
        for path in sorted(PUBLISHED.glob("*.yaml")):
            running.kubectl("apply", "--server-side", "-f", str(path))
        running.kubectl("apply", "--server-side", "--field-manager=argosy", "-f", "-", stdin=yaml.safe_dump(crd()))
        running.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield running


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
