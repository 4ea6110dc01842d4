import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.engines.moved import REASONS, transfer_of


def test_tokens_and_reasons_are_read_as_engines_of_ours_say_them() -> None:
    assert transfer_of("0", 431) == ("moved", 0)
    assert transfer_of("430", 431) == ("moved", 430)
    assert transfer_of("430", 0) == ("moved", 430), "the prompt's length is not known"
    assert [transfer_of(why, 431) for why in REASONS] == [(why, 0) for why in REASONS]


@pytest.mark.parametrize("said", ["", "432", "-1", "4.0", "\u0664", "9" * 10, "moved", "untold", "damaged "])
def test_whatever_else_is_said_tells_nothing(said: str) -> None:
    assert transfer_of(said, 431) == ("untold", 0)


@given(st.text(), st.integers(0, 500))
def test_no_engine_can_make_up_an_outcome_or_more_tokens_than_the_prompt_has(said: str, prompt_tokens: int) -> None:
    outcome, tokens = transfer_of(said, prompt_tokens)
    assert outcome in {"moved", "untold", *REASONS}
    assert not prompt_tokens or tokens <= prompt_tokens
