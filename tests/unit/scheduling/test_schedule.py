import random

from hypothesis import given
from hypothesis import strategies as st

from argosy.base.endpoint import Endpoint
from argosy.decide.scheduling.loads import Loads
from argosy.decide.scheduling.plugins import Asked
from argosy.decide.scheduling.schedule import MAX_ENDPOINTS, Decision
from argosy.decide.scheduling.schedule import schedule as scheduled
from harness.candidates import Row, candidates_among, candidates_of
from harness.profiles import DEFAULT_PROFILE


def schedule(*rows: Row) -> Decision:
    return scheduled(DEFAULT_PROFILE, Asked(), candidates_of(*rows))


def pick(loads: Loads, *endpoints: Endpoint) -> Endpoint:
    return scheduled(DEFAULT_PROFILE, Asked(), candidates_among(loads, endpoints, 0.0)).endpoints[0]


A, B, C = (Endpoint(f"127.0.0.{n}", 8000) for n in (1, 2, 3))


def test_the_least_loaded_is_picked_and_the_others_follow_in_order() -> None:
    decision = schedule(Row(endpoint=A, held=3), Row(endpoint=B, held=1, foreign=1), Row(endpoint=C, held=1))
    assert decision.endpoints == (C, B, A)
    assert list(decision.order) == [2, 1, 0]
    assert list(decision.costs) == sorted(decision.costs, reverse=True)
    assert len(set(decision.costs)) == 3


def test_a_slow_endpoint_is_worth_as_much_less() -> None:
    slow = Row(endpoint=A, slowness=4.0)
    assert schedule(slow, Row(endpoint=B, held=1)).endpoints[0] == B
    assert schedule(slow, Row(endpoint=B, held=4)).endpoints[0] == A


def test_a_suspect_endpoint_stands_last_but_stays() -> None:
    decision = schedule(Row(endpoint=A, suspect=True), Row(endpoint=B, held=9))
    assert decision.endpoints == (B, A)


def test_ties_rotate() -> None:
    loads, picked = Loads(), []
    for _ in range(6):
        endpoint = pick(loads, A, B, C)
        picked.append(endpoint)
        loads.release(loads.reserve(endpoint, 0.0), 0.0, answered=False)
    assert picked == [A, B, C, A, B, C]


def test_a_burst_does_not_pile_up() -> None:
    loads = Loads()
    for _ in range(100):
        loads.reserve(pick(loads, A, B), 0.0)
    assert (loads.held_at(A), loads.held_at(B)) == (50, 50)


def test_no_candidates_give_no_endpoints() -> None:
    assert schedule().endpoints == ()


loads_values = st.lists(
    st.builds(
        Row,
        endpoint=st.builds(Endpoint, st.just("127.0.0.1"), st.integers(1, 30)),
        held=st.integers(0, 3),
        foreign=st.integers(0, 3),
        slowness=st.sampled_from([1.0, 3.5]),
        suspect=st.booleans(),
        last_pick=st.integers(0, 3),
    ),
    max_size=12,
    unique_by=lambda load: load.endpoint,
)


@given(loads_values, st.integers())
def test_the_order_of_endpoints_decides_among_equal_ones_only(candidates: list[Row], seed: int) -> None:
    def ranks(rows: list[Row]) -> list[tuple[float, ...]]:
        decision = schedule(*rows)
        return [(rows[each].suspect, decision.costs[each], rows[each].last_pick) for each in decision.order]

    assert ranks(random.Random(seed).sample(candidates, len(candidates))) == ranks(candidates)


@given(loads_values)
def test_a_decision_names_candidates_only_each_once_the_best_first(candidates: list[Row]) -> None:
    decision = schedule(*candidates)
    endpoints = decision.endpoints
    assert len(endpoints) == len(set(endpoints)) == min(len(candidates), MAX_ENDPOINTS)
    assert set(endpoints) <= {load.endpoint for load in candidates}
    ranks = [(candidates[each].suspect, decision.costs[each]) for each in decision.order]
    assert sorted(decision.order) == list(range(len(candidates)))
    assert ranks == sorted(ranks)
