import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.decide.prefixes.prompt import BYTES_PER_TOKEN
from argosy.decide.prefixes.tokens import LEAST, MANY, MAX_MODELS, MAX_SERVED, MOST, Counts, TokenRates

HERE = 3
ENGLISH, DIGITS = 4.0, 1.0
"""Bytes of a token."""


def test_a_rate_moves_with_what_is_reported_a_long_prompt_at_once() -> None:
    rates = TokenRates()
    assert rates.bytes_per_token("m") == BYTES_PER_TOKEN
    assert rates.error("m") is None
    rates.reported("m", 3000.0, 1000)
    assert rates.bytes_per_token("m") == pytest.approx(3.0, rel=0.05)
    assert rates.error("m") == pytest.approx(0.25)
    for _ in range(100):
        rates.reported("m", 5000.0, 1000)
    assert rates.bytes_per_token("m") == pytest.approx(5.0, rel=0.01)
    assert rates.error("m") == pytest.approx(0.0, abs=0.01)
    assert rates.bytes_per_token("another") == BYTES_PER_TOKEN


def test_a_short_prompt_most_of_which_is_its_template_says_little_of_long_ones() -> None:
    rates = TokenRates()
    rates.reported("m", 8.0, 32)
    assert rates.bytes_per_token("m") > 0.6 * BYTES_PER_TOKEN
    rates.reported("m", 1200.0, 300)
    assert rates.bytes_per_token("m") > 0.85 * BYTES_PER_TOKEN
    settled = rates.error("m")
    assert settled is not None
    for _ in range(3):
        rates.reported("m", 8.0, 32)
        rates.reported("m", 4000.0, 1000)
    assert rates.bytes_per_token("m") == pytest.approx(4.0, rel=0.1)
    assert rates.error("m") < settled


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
    assert rates.bytes_per_token("m1") > BYTES_PER_TOKEN


class Engine:
    """An engine that counts, and the rates that hear of it."""

    def __init__(self) -> None:
        self.rates = TokenRates()
        self.requests = self.tokens = 0.0
        self.told(rests=True)

    def serve(self, prompt_bytes: float, bytes_per_token: float, *, answered: bool = True, model: str = "m") -> None:
        self.requests += 1
        self.tokens += prompt_bytes / bytes_per_token
        self.rates.ended(HERE, model, prompt_bytes, answered=answered)

    def told(self, *, rests: bool) -> None:
        self.rates.counted(HERE, Counts(self.requests, self.tokens), rests=rests)

    @property
    def rate(self) -> float:
        return self.rates.bytes_per_token("m")


def test_an_engine_that_rests_tells_the_tokens_of_what_was_asked_there() -> None:
    engine = Engine()
    for _ in range(5):
        engine.serve(1400.0, DIGITS)
        engine.told(rests=False)
        assert engine.rate == BYTES_PER_TOKEN
    engine.told(rests=True)
    assert engine.rate < 1.5
    for _ in range(40):
        engine.serve(1400.0, DIGITS)
        engine.told(rests=True)
    assert engine.rate == pytest.approx(DIGITS, rel=0.01)
    assert engine.rates.error("m") == pytest.approx(0.0, abs=0.01)


def test_an_engine_that_never_rests_is_believed_once_it_has_counted_many() -> None:
    engine = Engine()
    asked = 0.0
    while engine.tokens < MANY:
        assert engine.rate == BYTES_PER_TOKEN
        engine.serve(1400.0, DIGITS)
        engine.told(rests=False)
        asked += 1400.0
    assert engine.rate < 1.5


@pytest.mark.parametrize("rests", [False, True])
def test_where_others_ask_too_nothing_is_learned(*, rests: bool) -> None:
    engine = Engine()
    engine.serve(8 * MANY, ENGLISH / 2)
    engine.requests += 1
    engine.tokens += MANY
    engine.told(rests=rests)
    assert engine.rates.error("m") is None


def test_what_was_given_up_is_counted_or_not_so_nothing_is_learned_until_the_engine_rests() -> None:
    engine = Engine()
    engine.serve(9000.0, ENGLISH, answered=False)
    engine.told(rests=False)
    engine.serve(8 * MANY, DIGITS)
    engine.told(rests=False)
    assert engine.rate == BYTES_PER_TOKEN
    engine.told(rests=True)
    engine.serve(1400.0, DIGITS)
    engine.told(rests=True)
    assert engine.rate < 1.5


def test_prompts_that_were_not_read_teach_nothing() -> None:
    engine = Engine()
    engine.serve(1400.0, DIGITS)
    engine.requests, engine.tokens = engine.requests + 1, engine.tokens + 500
    engine.rates.ended(HERE, "m", 0.0, answered=True)
    engine.told(rests=True)
    assert engine.rate == BYTES_PER_TOKEN


def test_an_engine_that_was_started_anew_counts_anew() -> None:
    engine = Engine()
    engine.serve(9000.0, ENGLISH)
    engine.told(rests=True)
    engine.requests = engine.tokens = 0.0
    engine.serve(10.0, ENGLISH)
    settled = engine.rate
    engine.told(rests=True)
    assert engine.rate == settled
    engine.serve(1400.0, DIGITS)
    engine.told(rests=True)
    assert engine.rate < settled


def test_what_was_asked_before_the_first_count_teaches_nothing() -> None:
    rates = TokenRates()
    rates.ended(HERE, "m", 1400.0, answered=True)
    rates.counted(HERE, Counts(1.0, 1400.0), rests=True)
    assert rates.bytes_per_token("m") == BYTES_PER_TOKEN


def test_models_that_one_engine_serves_learn_together_and_are_bounded() -> None:
    engine = Engine()
    for number in range(2 * MAX_SERVED):
        engine.serve(1400.0, DIGITS, model=f"m{number}")
    engine.told(rests=True)
    learned = [engine.rates.error(f"m{number}") is not None for number in range(2 * MAX_SERVED)]
    assert sum(learned) == MAX_SERVED


def test_an_endpoint_that_is_gone_is_forgotten() -> None:
    engine = Engine()
    engine.serve(1400.0, DIGITS)
    engine.rates.forget(HERE)
    engine.told(rests=True)
    assert engine.rate == BYTES_PER_TOKEN
