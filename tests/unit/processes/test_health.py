import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.containers import Probe
from argosy.edge.processes.probes import Health

MEANING = {"+": True, "-": False, "?": None}


def verdicts(probe: Probe, at_first: str, answers: str) -> str:
    """`+` and `-` for answers and for health after each; `?` for not known."""
    health = Health(MEANING[at_first])
    seen = ""
    for answer in answers:
        health = health.after(probe, ok=answer == "+")
        seen += {True: "+", False: "-", None: "?"}[health.healthy]
    return seen


@pytest.mark.parametrize(
    ("successes", "failures", "at_first", "answers", "expected"),
    [
        (1, 3, "-", "---+", "---+"),
        (1, 3, "-", "+--+--", "++++++"),
        (1, 3, "-", "+---+", "+++-+"),
        (2, 1, "-", "+-++-+", "---+--"),
        (1, 1, "+", "++-+", "++-+"),
        (1, 3, "+", "--+---", "+++++-"),
        (1, 3, "?", "--+", "??+"),
        (1, 3, "?", "---", "??-"),
        (1, 1, "?", "-", "-"),
    ],
)
def test_health_changes_after_as_many_like_answers_in_a_row_as_the_probe_says(
    successes: int, failures: int, at_first: str, answers: str, expected: str
) -> None:
    probe = Probe(success_threshold=successes, failure_threshold=failures)
    assert verdicts(probe, at_first, answers) == expected


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from("+-"), st.text("+-", max_size=40))
def test_health_is_what_the_last_long_enough_row_of_like_answers_said(
    successes: int, failures: int, at_first: str, answers: str
) -> None:
    probe = Probe(success_threshold=successes, failure_threshold=failures)
    last = {True: answers.rfind("+" * successes), False: answers.rfind("-" * failures)}
    ends = {ok: at + (successes if ok else failures) for ok, at in last.items() if at >= 0}
    expected = max(ends, key=lambda ok: ends[ok]) if ends else MEANING[at_first]
    assert (at_first + verdicts(probe, at_first, answers))[-1] == ("+" if expected else "-")
