"""A cluster of its own for each file of tests that install Argosy: nobody else's objects are in the way."""

from collections.abc import Iterator

import pytest

from harness.control_plane import ControlPlane, control_plane


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, can_run: None) -> Iterator[ControlPlane]:
    """A control plane that has never heard of Argosy."""
    assert can_run is None
    with control_plane(tmp_path_factory.mktemp("cluster")) as running:
        yield running
