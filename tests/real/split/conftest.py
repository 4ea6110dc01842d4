"""Tests of engines and whole laptops that hand KV caches over: minutes of computing, and no cluster is theirs."""

from collections.abc import Iterator

import pytest

from harness.laptop import ROOT, Laptop, laptop


@pytest.fixture(autouse=True)
def inside() -> None:
    """Stay in the machine's own network."""


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """One of two replicas that do all of a request."""
    with laptop(tmp_path_factory.mktemp("i"), ROOT / "examples" / "smollm2.yaml") as running:
        yield running
