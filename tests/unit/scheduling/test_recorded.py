import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import PoolEndpoint
from argosy.decide.scheduling.deciders.threshold import Verdict
from argosy.decide.scheduling.explanation import explanation
from argosy.decide.scheduling.record import MAX_ID, PrefillRecord, Record
from argosy.decide.scheduling.recorded import decision_line, is_sampled, pool_line, recorded
from harness.candidates import Row, candidates_of
from harness.profiles import DEFAULT_PROFILE

A, B = Endpoint("127.0.0.1", 8000), Endpoint("::1", 8001)
POOL = tuple(
    PoolEndpoint(endpoint=each, pod=Key("d", "p"), ready=each == A, labels={"a": "b"}, models=frozenset(("m",)))
    for each in (A, B)
)


def record(request: str, *, held: int = 0) -> Record:
    row = Row(endpoint=A, held=held, slowness=3.5, kv_usage=0.5)
    return Record(
        request=request,
        at_s=1.25,
        pool="d/p",
        route="d/r",
        model="m",
        subset=frozenset((str(A), "10.0.0.1")),
        eligible=1,
        candidates=candidates_of(row),
        picked=A,
        served=str(A),
        answered=True,
        took_s=0.5,
        prefill=PrefillRecord(
            verdict=Verdict(outcome="prefill", threshold_tokens=256, prompt_tokens=600.0, uncached_tokens=600.0),
            eligible=1,
            candidates=candidates_of(Row(endpoint=B, held=held)),
            picked=B,
            outcome="done",
            took_s=0.25,
            prompt_tokens=640,
            transfer="damaged",
            alike=1,
        ),
    )


def lines(*texts: str) -> list[bytes]:
    return [f"{text}\n".encode() for text in texts]


@given(request=st.text(max_size=MAX_ID))
def test_a_decision_that_was_written_is_found_as_it_was_with_its_pool_and_explained_alike(request: str) -> None:
    one = record(request)
    found = recorded(lines(pool_line(1, POOL), decision_line(1, one)), request)
    assert found == (one, POOL)
    assert explanation(*found, DEFAULT_PROFILE) == explanation(one, POOL, DEFAULT_PROFILE)


def test_a_pool_number_means_the_latest_state_before_the_decision() -> None:
    written = lines(
        pool_line(1, POOL), decision_line(1, record("a")), pool_line(1, POOL[:1]), decision_line(1, record("b"))
    )
    assert recorded(written, "a") == (record("a"), POOL)
    assert recorded(written, "b") == (record("b"), POOL[:1])


def test_an_id_that_comes_again_is_that_of_the_latest_decision() -> None:
    written = lines(pool_line(1, ()), *(decision_line(1, record("a", held=held)) for held in (1, 2)))
    assert recorded(written, "a") == (record("a", held=2), ())


def test_an_id_is_not_found_within_other_words() -> None:
    assert recorded(lines(pool_line(1, POOL), decision_line(1, record("abc"))), "b") is None
    assert recorded(lines(decision_line(1, record("x"))), "d/r") is None
    assert recorded([], "a") is None


def test_a_long_id_is_cut_as_the_record_cuts_it() -> None:
    one = record("a" * MAX_ID)
    assert recorded(lines(decision_line(0, one)), "a" * MAX_ID + "b") == (one, ())


def test_what_was_cut_off_is_left_out() -> None:
    pool, decision = pool_line(1, POOL), decision_line(1, record("a"))
    assert recorded([*lines(pool, decision), decision[:-9].encode()], "a") == (record("a"), POOL)
    # Nothing but the number can be read: the endpoints are not known, the decision is.
    assert recorded(lines(pool.replace('"endpoints":[', '"endpoints":[7,'), decision), "a") == (record("a"), ())
    assert recorded(lines(pool[:-9], decision), "a") == (record("a"), ())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_so_many_of_all_requests_are_sampled_as_is_asked_for(share: float) -> None:
    count = 20_000
    sampled = sum(is_sampled(f"request-{number}", share) for number in range(count))
    assert abs(sampled - share * count) <= 4 * math.sqrt(count * share * (1 - share))


@given(request=st.text(), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_who_is_in_a_sample_is_in_every_larger_one(request: str, shares: tuple[float, float]) -> None:
    assert is_sampled(request, min(shares)) <= is_sampled(request, max(shares))


def test_an_id_that_no_encoding_holds_is_sampled_or_not_but_harms_nothing() -> None:
    assert is_sampled("\udcff", 1.0)
    assert recorded(lines(decision_line(0, record("a"))), "\udcff") is None
