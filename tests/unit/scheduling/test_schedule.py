import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from argosy.base.endpoint import Endpoint
from argosy.decide.scheduling.loads import Load, Loads
from argosy.decide.scheduling.plugins import Asked
from argosy.decide.scheduling.schedule import MAX_ENDPOINTS, Decision
from argosy.decide.scheduling.schedule import schedule as scheduled
from harness.profiles import DEFAULT_PROFILE


def schedule(candidates: Sequence[Load]) -> Decision:
    return scheduled(DEFAULT_PROFILE, Asked(), candidates)


A, B, C = (Endpoint(f"127.0.0.{n}", 8000) for n in (1, 2, 3))


def test_the_least_loaded_is_picked_and_the_others_follow_in_order() -> None:
    decision = schedule(
        (Load(endpoint=A, held=3), Load(endpoint=B, held=1, foreign=1), Load(endpoint=C, held=1)),
    )
    assert decision.endpoints == (C, B, A)
    assert list(decision.costs) == sorted(decision.costs)
    assert len(set(decision.costs)) == 3


def test_a_slow_endpoint_is_worth_as_much_less() -> None:
    slow = Load(endpoint=A, slowness=4.0)
    assert schedule((slow, Load(endpoint=B, held=1))).endpoints[0] == B
    assert schedule((slow, Load(endpoint=B, held=4))).endpoints[0] == A


def test_a_suspect_endpoint_stands_last_but_stays() -> None:
    decision = schedule((Load(endpoint=A, suspect=True), Load(endpoint=B, held=9)))
    assert decision.endpoints == (B, A)


def test_ties_rotate() -> None:
    loads, picked = Loads(), []
    for _ in range(6):
        endpoint = schedule(loads.believed((A, B, C), 0.0)).endpoints[0]
        picked.append(endpoint)
        loads.release(loads.reserve(endpoint, 0.0), 0.0, answered=False)
    assert picked == [A, B, C, A, B, C]


def test_a_burst_does_not_pile_up() -> None:
    loads = Loads()
    for _ in range(100):
        loads.reserve(schedule(loads.believed((A, B), 0.0)).endpoints[0], 0.0)
    assert (loads.held_at(A), loads.held_at(B)) == (50, 50)


def test_no_candidates_give_no_endpoints() -> None:
    assert schedule(()).endpoints == ()


loads_values = st.lists(
    st.builds(
        Load,
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
def test_the_order_of_endpoints_is_irrelevant(candidates: list[Load], seed: int) -> None:
    shuffled = random.Random(seed).sample(candidates, len(candidates))
    assert schedule(shuffled) == schedule(candidates)


@given(loads_values)
def test_a_decision_names_candidates_only_each_once_the_best_first(candidates: list[Load]) -> None:
    decision = schedule(candidates)
    endpoints = decision.endpoints
    assert len(endpoints) == len(set(endpoints)) == min(len(candidates), MAX_ENDPOINTS)
    assert set(endpoints) <= {load.endpoint for load in candidates}
    ranks = [(load.suspect, cost) for load, cost in zip(decision.candidates, decision.costs, strict=True)]
    assert ranks == sorted(ranks)
