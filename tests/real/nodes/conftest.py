"""A cluster with nodes for each file of tests whose pods run: nobody else's pods are in the way."""

from collections.abc import Iterator

import pytest

from harness.control_plane import ControlPlane, control_plane
from harness.kinds import install_kinds


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, can_run: None) -> Iterator[ControlPlane]:
    """A control plane that knows our kinds and those of the Gateway API and the Inference Extension."""
    assert can_run is None
    with control_plane(tmp_path_factory.mktemp("cluster")) as running:
        install_kinds(running)
        yield running
