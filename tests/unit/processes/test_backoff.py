import itertools

from hypothesis import given
from hypothesis import strategies as st

from argosy.edge.processes.backoff import LONGEST_DELAY_S, STABLE_S, Backoff


def delays(ran_s: list[float]) -> list[float]:
    states = itertools.accumulate(ran_s, Backoff.after_end, initial=Backoff())
    return [state.delay_s for state in states][1:]


def test_the_first_restart_is_immediate_and_later_ones_double_from_half_a_second_to_thirty() -> None:
    assert delays([0.1] * 10) == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_stable_run_makes_the_next_restart_immediate_again() -> None:
    assert delays([0.1, 0.1, 0.1, STABLE_S, 0.1]) == [0, 0.5, 1, 0, 0.5]


@given(st.lists(st.floats(0, 1e6), max_size=60))
def test_a_delay_is_never_negative_nor_above_the_bound(ran_s: list[float]) -> None:
    assert all(0 <= delay <= LONGEST_DELAY_S for delay in delays(ran_s))


@given(st.lists(st.floats(0, STABLE_S, exclude_max=True), min_size=1, max_size=60))
def test_without_a_stable_run_delays_never_shrink(ran_s: list[float]) -> None:
    assert delays(ran_s) == sorted(delays(ran_s))
