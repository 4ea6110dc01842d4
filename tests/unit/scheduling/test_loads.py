import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.base.endpoint import Endpoint
from argosy.base.errors import CallerError
from argosy.decide.scheduling.loads import (
    FRESH_S,
    SLOW_ANSWERS,
    SLOW_FRESH_DURATIONS,
    SLOW_FRESH_S,
    SUSPECT_S,
    Load,
    Loads,
)
from argosy.decide.scheduling.plugins import Asked
from argosy.decide.scheduling.schedule import schedule
from argosy.engines.signals import Signals
from harness.candidates import candidates_among
from harness.profiles import DEFAULT_PROFILE

A, B, C = (Endpoint(f"127.0.0.{n}", 8000) for n in (1, 2, 3))


def belief(loads: Loads, endpoint: Endpoint, now_s: float = 0.0) -> Load:
    return next(load for load in loads.believed((A, B, C), now_s) if load.endpoint == endpoint)


def said(requests: int) -> Signals:
    """What an engine says that has so many requests."""
    return Signals(running=requests // 2, waiting=requests - requests // 2)


def answer(loads: Loads, endpoint: Endpoint, began_s: float, duration_s: float) -> None:
    loads.release(loads.reserve(endpoint, began_s), began_s + duration_s, answered=True)


def test_what_is_not_known_is_idle_and_unsuspected() -> None:
    assert belief(Loads(), A) == Load(endpoint=A)
    assert Loads().held_at(A) == 0


def test_a_request_counts_from_its_pick_to_the_end_of_its_stream() -> None:
    loads = Loads()
    first, second = loads.reserve(A, 0.0), loads.reserve(A, 0.0)
    assert (loads.held, loads.held_at(A), belief(loads, A).held) == (2, 2, 2)
    loads.release(first, 1.0, answered=True)
    loads.release(second, 1.0, answered=False)
    assert (loads.held, loads.held_at(A)) == (0, 0)


def test_a_reservation_is_released_once() -> None:
    loads = Loads()
    number = loads.reserve(A, 0.0)
    loads.release(number, 1.0, answered=True)
    with pytest.raises(CallerError, match="not held"):
        loads.release(number, 1.0, answered=True)


def test_requests_of_ours_that_an_engine_reports_are_not_counted_twice() -> None:
    loads = Loads()
    loads.reserve(A, 0.0)
    mark = loads.scrape_began(A)
    loads.scraped(mark, said(1), 0.1)
    assert (belief(loads, A, 0.2).held, belief(loads, A, 0.2).foreign) == (1, 0)


def test_requests_of_others_are_added() -> None:
    loads = Loads()
    loads.reserve(A, 0.0)
    loads.scraped(loads.scrape_began(A), said(6), 0.1)
    assert (belief(loads, A, 0.2).held, belief(loads, A, 0.2).foreign) == (1, 5)


def test_a_reservation_newer_than_the_scrape_is_neither_missed_nor_counted_twice() -> None:
    loads = Loads()
    mark = loads.scrape_began(A)
    loads.reserve(A, 0.0)  # the engine may have counted it or not
    loads.scraped(mark, said(1), 0.1)
    assert belief(loads, A, 0.2).foreign == 0
    loads.reserve(A, 0.2)
    assert (belief(loads, A, 0.3).held, belief(loads, A, 0.3).foreign) == (2, 0)


def test_a_request_that_ends_during_the_scrape_is_not_taken_for_a_foreign_one() -> None:
    loads = Loads()
    number = loads.reserve(A, 0.0)
    mark = loads.scrape_began(A)
    loads.release(number, 0.1, answered=True)
    loads.scraped(mark, said(1), 0.2)
    assert belief(loads, A, 0.2).foreign == 0


def test_an_old_scrape_is_forgotten() -> None:
    loads = Loads()
    loads.scraped(loads.scrape_began(A), said(5), 0.0)
    assert belief(loads, A, FRESH_S).foreign == 5
    assert belief(loads, A, FRESH_S).signals == said(5)
    assert belief(loads, A, FRESH_S + 0.1) == Load(endpoint=A)


def test_a_scrape_of_an_endpoint_that_was_forgotten_meanwhile_says_nothing_of_its_successor() -> None:
    loads = Loads()
    for _ in range(4):
        loads.release(loads.reserve(A, 0.0), 0.1, answered=True)
    mark = loads.scrape_began(A)
    loads.keep_only(())
    loads.scraped(mark, said(3), 0.2)
    assert belief(loads, A, 0.2) == Load(endpoint=A)
    loads.reserve(A, 0.3)
    loads.scraped(mark, said(3), 0.4)
    assert belief(loads, A, 0.4).foreign == 0


def test_a_request_that_a_fallback_serves_counts_there_and_makes_the_pick_suspect_for_a_while() -> None:
    loads = Loads()
    number = loads.reserve(A, 0.0)
    loads.move(number, B, 1.0)
    assert (belief(loads, A, 1.0).held, belief(loads, A, 1.0).suspect) == (0, True)
    assert (belief(loads, B, 1.0).held, belief(loads, B, 1.0).suspect) == (1, False)
    assert not belief(loads, A, 1.0 + SUSPECT_S).suspect
    loads.release(number, 2.0, answered=True)
    assert loads.held_at(B) == 0


def test_an_endpoint_that_answers_ten_times_slower_is_known_after_a_few_answers() -> None:
    loads = Loads()
    for n in range(SLOW_ANSWERS):
        answer(loads, A, n, 0.1)
        assert belief(loads, B, n).slowness == 1.0
        answer(loads, B, n, 1.0)
    assert belief(loads, A, 4.0).slowness == 1.0
    assert belief(loads, B, 4.0).slowness == pytest.approx(10.0)
    assert belief(loads, C, 4.0).slowness == 1.0


def test_differences_as_answers_of_equal_endpoints_have_them_do_not_steer() -> None:
    loads = Loads()
    for n in range(SLOW_ANSWERS):
        answer(loads, A, n, 0.1)
        answer(loads, B, n, 0.25)
    assert belief(loads, B, 4.0).slowness == 1.0


def test_slowness_is_forgotten_so_that_the_endpoint_is_tried_again() -> None:
    loads = Loads()
    for n in range(SLOW_ANSWERS):
        answer(loads, A, n, 0.01)
        answer(loads, B, n, 0.5)
    last_s = SLOW_ANSWERS - 0.5
    answer(loads, A, last_s + SLOW_FRESH_S, 0.01)
    assert belief(loads, B, last_s + SLOW_FRESH_S).slowness > 1.0
    assert belief(loads, B, last_s + SLOW_FRESH_S + 0.1).slowness == 1.0


def test_the_slowness_of_long_answers_is_remembered_for_several_of_them() -> None:
    loads = Loads()
    for n in range(SLOW_ANSWERS):
        answer(loads, A, n, 6.0)
        answer(loads, B, n, 60.0)
    last_s = SLOW_ANSWERS - 1 + 60.0
    answer(loads, A, last_s + 50.0, 6.0)
    assert belief(loads, B, last_s + 60.0).slowness > 1.0
    assert belief(loads, B, last_s + 60.0 * SLOW_FRESH_DURATIONS + 1.0).slowness == 1.0


def test_failures_and_answers_of_fallbacks_say_nothing_of_speed() -> None:
    loads = Loads()
    for n in range(SLOW_ANSWERS):
        answer(loads, A, n, 0.1)
        loads.release(loads.reserve(B, n), n + 9.0, answered=False)
        moved = loads.reserve(C, n)
        loads.move(moved, B, n)
        loads.release(moved, n + 9.0, answered=True)
    assert belief(loads, B, 12.0).slowness == 1.0


def test_endpoints_that_are_gone_are_forgotten_once_nothing_runs_there() -> None:
    loads = Loads()
    number = loads.reserve(A, 0.0)
    loads.scraped(loads.scrape_began(B), said(5), 0.0)
    loads.keep_only({C})
    assert belief(loads, B) == Load(endpoint=B)
    assert belief(loads, A).held == 1
    loads.release(number, 1.0, answered=False)
    loads.keep_only({C})
    assert belief(loads, A, 1.0) == Load(endpoint=A)


steps = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "release", "move", "scrape", "forget"]), st.integers(0, 9), st.integers(0, 9)
    ),
    max_size=40,
)


@given(steps)
def test_reserved_is_released_and_held_and_no_count_is_ever_negative(script: list[tuple[str, int, int]]) -> None:
    loads, held, now_s = Loads(), [], 0.0
    reserved = released = 0
    for step, first, second in script:
        now_s += first / 7
        endpoint = (A, B, C)[first % 3]
        if step == "reserve":
            held.append(loads.reserve(endpoint, now_s))
            reserved += 1
        elif step == "release" and held:
            loads.release(held.pop(first % len(held)), now_s, answered=bool(second % 2))
            released += 1
        elif step == "move" and held:
            loads.move(held[second % len(held)], endpoint, now_s)
        elif step == "scrape":
            loads.scraped(loads.scrape_began(endpoint), said(second), now_s)
        elif step == "forget":
            loads.keep_only({A})
        beliefs = loads.believed((A, B, C), now_s)
        assert all(load.held >= 0 and load.foreign >= 0 and load.slowness >= 1.0 for load in beliefs)
        assert loads.held == sum(load.held for load in beliefs) == reserved - released


def simulated_picks(*, clients: int, durations_s: dict[Endpoint, float], picks: int) -> Counter[Endpoint]:
    """Clients that ask again as soon as they are answered, each answer taking as long as its endpoint does."""
    loads, picked = Loads(), Counter[Endpoint]()
    ends: list[tuple[float, int]] = []
    now_s = 0.0
    for _ in range(picks):
        if len(ends) == clients:
            ends.sort()
            now_s, number = ends.pop(0)
            loads.release(number, now_s, answered=True)
        endpoint = schedule(DEFAULT_PROFILE, Asked(), candidates_among(loads, durations_s, now_s)).endpoints[0]
        picked[endpoint] += 1
        ends.append((now_s + durations_s[endpoint], loads.reserve(endpoint, now_s)))
    return picked


@pytest.mark.parametrize("clients", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("fast_s", [0.05, 0.5, 6.0])
def test_a_replica_that_is_ten_times_slower_gets_at_most_a_fifth_of_the_picks(clients: int, fast_s: float) -> None:
    picked = simulated_picks(clients=clients, durations_s={A: fast_s, B: 10 * fast_s}, picks=400)
    assert 0 < picked[B] <= 80


@pytest.mark.parametrize("clients", [1, 2, 3, 8])
def test_equal_replicas_get_equal_shares(clients: int) -> None:
    picked = simulated_picks(clients=clients, durations_s={A: 0.5, B: 0.5, C: 0.5}, picks=300)
    assert max(picked.values()) - min(picked.values()) <= clients


def test_slowness_never_exceeds_what_was_measured() -> None:
    loads = Loads()
    for n in range(SLOW_ANSWERS):
        answer(loads, A, n, 0.0)
        answer(loads, B, n, 1.0)
    assert math.isfinite(belief(loads, B, 4.0).slowness)
