"""Quantities, read and written as an API server does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.quantity import canonical, mebibytes, quantity


@pytest.mark.parametrize(
    ("given_", "written"),
    [
        ("2048Mi", "2Gi"), ("1024Mi", "1Gi"), ("1536Mi", "1536Mi"), ("0.5Gi", "512Mi"), ("1Ki", "1Ki"),
        ("2000m", "2"), ("0.5", "500m"), ("1500m", "1500m"), (2, "2"), ("1000", "1k"), ("0", "0"), ("0Gi", "0"),
        ("0.0001", "1m"), ("0.3Ki", "308"), ("1000M", "1G"),
    ],
)  # fmt: skip
def test_a_quantity_is_written_as_an_api_server_writes_it(given_: int | str, written: str) -> None:
    assert canonical(given_) == written


@given(st.integers(1, 10**6), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi"]))
def test_writing_keeps_the_amount_and_settles(count: int, unit: str) -> None:
    once = canonical(f"{count}{unit}")
    assert quantity(once) == quantity(f"{count}{unit}")
    assert canonical(once) == once


def test_bytes_are_rounded_up_to_64_mebibytes() -> None:
    assert mebibytes(1) == "64Mi"
    assert mebibytes(1024 * 2**20) == "1Gi"


@pytest.mark.parametrize("text", ["", "x", "1X", "-1", "1 Gi"])
def test_what_is_no_quantity_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantity(text)
