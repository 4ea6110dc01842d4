"""Tests of a laptop whose parts are killed and hang: minutes of waiting, and no cluster is theirs."""

from collections.abc import Iterator

import pytest

from harness.laptop import ROOT, Laptop, laptop


@pytest.fixture(autouse=True)
def inside() -> None:
    """Stay in the machine's own network."""


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """An instance whose parts are killed; every test begins when all of it serves."""
    with laptop(tmp_path_factory.mktemp("d"), ROOT / "examples" / "smollm2.yaml") as running:
        yield running


@pytest.fixture
def own_instance(damaged: Laptop) -> Laptop:
    damaged.wait_until(
        lambda status: (
            all(part["ready"] for part in status["components"])
            and all(replica["ready"] for replica in status["services"][0]["replicas"])
            and status["gateway"]["reservations"] == 0
        )
    )
    return damaged
