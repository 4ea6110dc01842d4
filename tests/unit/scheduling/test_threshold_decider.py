from hypothesis import given
from hypothesis import strategies as st

from argosy.decide.scheduling.deciders.threshold import verdict

TOKENS = st.floats(min_value=0.0, max_value=1e6)


@given(st.integers(min_value=1, max_value=100_000), TOKENS, TOKENS)
def test_a_prompt_goes_to_a_prefill_worker_from_as_many_uncached_tokens_as_the_threshold(
    threshold: int, prompt: float, cached: float
) -> None:
    found = verdict(threshold, prompt, cached)
    assert found.disaggregates is (prompt > 0.0 and prompt - cached >= threshold)
    assert found.uncached_tokens == max(prompt - cached, 0.0)


def test_a_verdict_carries_its_numbers_and_why() -> None:
    found = verdict(512, 600.0, 100.0, 0.05)
    assert (found.outcome, found.threshold_tokens, found.prompt_tokens, found.uncached_tokens, found.error) == (
        "below_threshold",
        512,
        600.0,
        500.0,
        0.05,
    )
    assert verdict(500, 600.0, 100.0).outcome == "prefill"
    assert verdict(1, 0.0, 0.0).outcome == "no_prompt"
