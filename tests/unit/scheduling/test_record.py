from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import PoolEndpoint
from argosy.decide.scheduling import record as module
from argosy.decide.scheduling.plugins import Candidates
from argosy.decide.scheduling.record import MAX_ENDPOINTS_KEPT, MAX_ID, MAX_KEPT, RECORD_SIZE, Record, Records


def state(size: int) -> tuple[PoolEndpoint, ...]:
    one = PoolEndpoint(endpoint=Endpoint("127.0.0.1", 1), pod=Key("d", "p"), ready=True, labels={})
    return (one,) * size


def record(request: str, candidates: int = 1) -> Record:
    return Record(request=request, at_s=0.0, candidates=Candidates((Endpoint("127.0.0.1", 1),) * candidates))


def test_a_record_is_found_by_its_request_with_the_state_of_its_pool() -> None:
    records, then = Records(), state(2)
    one = record("a")
    records.add(one, then)
    records.add(record("b"))
    assert records.find("a") == (one, then)
    assert records.find("b") == (record("b"), ())
    assert records.find("c") is None
    assert [each.request for each in records.latest(5)] == ["b", "a"]
    assert [each.request for each in records.latest(1)] == ["b"]


def test_a_decision_says_how_many_blocks_its_pick_held_and_none_where_nobody_was_picked() -> None:
    here, there = Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", 2)
    candidates = Candidates((here, there), columns={"matched": (3.0, 5.5)})
    asked = Record(request="a", at_s=0.0, candidates=candidates)
    assert structs.replace(asked, picked=there).matched == 5.5
    assert asked.matched == 0.0


def test_an_id_that_comes_again_is_that_of_the_latest() -> None:
    records = Records()
    for candidates in (1, 2):
        records.add(record("a", candidates))
    found = records.find("a")
    assert found is not None
    assert len(found[0].candidates) == 2


def test_an_id_is_looked_for_as_it_is_kept() -> None:
    records = Records()
    records.add(record("x" * MAX_ID))
    assert records.find("x" * (MAX_ID + 9)) is not None


def test_the_oldest_are_forgotten_and_an_id_that_came_again_is_not() -> None:
    records = Records()
    for request in ("first", "again", "again"):
        records.add(record(request, 0))
    for number in range(MAX_KEPT // RECORD_SIZE - 1):
        records.add(record(str(number), 0))
    assert records.find("first") is None
    assert records.find("again") is not None
    records.add(record("last", 0))
    assert records.find("again") is None


def test_states_of_pools_are_bounded_and_kept_once() -> None:
    records, size = Records(), MAX_ENDPOINTS_KEPT // 4
    states = [state(size + number) for number in range(5)]
    for number, each in enumerate(states):
        records.add(record(f"{number}"), each)
        records.add(record(f"{number} once more"), each)
    known = [records.find(f"{number}") for number in range(5)]
    assert [bool(found and found[1]) for found in known] == [False, False, True, True, True]
    records.add(record("large"), state(MAX_ENDPOINTS_KEPT + 1))
    large = records.find("large")
    assert large is not None
    assert large[1]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 3)), max_size=60))
def test_whatever_comes_stays_within_its_bounds(script: list[tuple[str, int, int]]) -> None:
    records, states = Records(), [state(size) for size in (1, 2, 3, 7)]
    before = module.MAX_KEPT, module.MAX_ENDPOINTS_KEPT
    module.MAX_KEPT, module.MAX_ENDPOINTS_KEPT = 20, 8  # type: ignore[misc]
    try:
        for request, candidates, which in script:
            records.add(record(request, candidates), states[which])
            kept = records.latest(1000)
            assert sum(RECORD_SIZE + len(each.candidates) for each in kept) <= 20
            found = records.find(request)
            assert found is not None
            assert found[0] is kept[0]
            assert found[1] in ((), states[which])
    finally:
        module.MAX_KEPT, module.MAX_ENDPOINTS_KEPT = before  # type: ignore[misc]
