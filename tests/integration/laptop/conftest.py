"""One instance of two replicas for the tests that leave it as they found it."""

from collections.abc import Iterator

import pytest

from harness.laptop import ROOT, Laptop, laptop


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    with laptop(tmp_path_factory.mktemp("i"), ROOT / "examples" / "smollm2.yaml") as running:
        yield running
