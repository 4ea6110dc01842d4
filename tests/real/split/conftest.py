"""Tests of whole laptops: no cluster is theirs."""

import pytest


@pytest.fixture(autouse=True)
def inside() -> None:
    """Stay in the machine's own network."""
