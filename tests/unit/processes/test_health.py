import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.containers import Probe
from argosy.edge.processes.probes import Health, Outcome, probe_health
from harness.virtual_time import run_in_virtual_time

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


@pytest.mark.parametrize(("takes_s", "expected"), [(0, [3, 8, 13]), (4, [7, 12, 17]), (7, [10, 17, 24])])
def test_a_period_lies_between_two_questions_however_long_the_answer_takes(takes_s: int, expected: list[int]) -> None:
    probe = Probe(initial_delay_seconds=3, period_seconds=5, failure_threshold=len(expected))

    async def answer() -> Outcome:
        await asyncio.sleep(takes_s)
        return Outcome(ok=False, why="too late")

    async def times_s() -> list[float]:
        found = []
        async with contextlib.aclosing(probe_health(probe, answer, at_first=True)) as answers:
            async for health, _ in answers:
                found.append(asyncio.get_running_loop().time())
                if not health.healthy:
                    break
        return found

    assert run_in_virtual_time(times_s()) == expected
