import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.decide.prefixes.prompt import BYTES_PER_TOKEN
from argosy.decide.prefixes.tokens import LEAST, MAX_MODELS, MOST, TokenRates


def test_a_rate_is_the_first_report_and_then_moves_with_those_that_follow() -> None:
    rates = TokenRates()
    assert rates.bytes_per_token("m") == BYTES_PER_TOKEN
    assert rates.error("m") is None
    rates.reported("m", 3000.0, 1000)
    assert rates.bytes_per_token("m") == 3.0
    assert rates.error("m") == pytest.approx(0.25)
    for _ in range(100):
        rates.reported("m", 5000.0, 1000)
    assert rates.bytes_per_token("m") == pytest.approx(5.0, rel=0.01)
    assert rates.error("m") == pytest.approx(0.0, abs=0.01)
    assert rates.bytes_per_token("another") == BYTES_PER_TOKEN


@given(st.floats(min_value=0.0, max_value=1e9), st.integers(min_value=-5, max_value=10**9))
def test_a_rate_stays_within_its_bounds_whatever_is_reported(prompt_bytes: float, tokens: int) -> None:
    rates = TokenRates()
    rates.reported("m", prompt_bytes, tokens)
    assert LEAST <= rates.bytes_per_token("m") <= MOST


def test_rates_of_models_that_were_not_used_for_long_are_forgotten() -> None:
    rates = TokenRates()
    for number in range(MAX_MODELS + 1):
        rates.reported(f"m{number}", 8.0, 1)
    assert rates.bytes_per_token("m0") == BYTES_PER_TOKEN
    assert rates.bytes_per_token("m1") == 8.0
