import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.decide.scheduling.pace import Pace

WORKS = st.lists(st.integers(0, 100), min_size=2, max_size=30, unique=True)


@given(WORKS)
def test_answers_that_take_as_long_as_their_work_says_are_alike(works: list[int]) -> None:
    pace = Pace()
    for work in works:
        pace.measured(work, 0.5 + 0.1 * work)
    for work in works:
        assert pace.expected(work) == pytest.approx(0.5 + 0.1 * work, rel=1e-6)


def test_without_a_prompt_the_seconds_are_what_they_are() -> None:
    pace = Pace()
    assert [pace.measured(0.0, seconds) for seconds in (1.0, 10.0, 0.1)] == pytest.approx([1.0, 10.0, 0.1])


def test_more_work_in_less_time_is_taken_for_no_rule() -> None:
    pace = Pace()
    pace.measured(1.0, 10.0)
    pace.measured(10.0, 1.0)
    assert pace.expected(1.0) == pytest.approx(pace.expected(10.0))


def test_a_line_that_would_go_below_nothing_goes_through_the_origin() -> None:
    pace = Pace()
    pace.measured(10.0, 1.0)
    pace.measured(20.0, 3.0)
    assert pace.expected(0.0) == 0.0
    assert 0.1 < pace.expected(1.0) < 0.15
