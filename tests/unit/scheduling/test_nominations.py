from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from argosy.base.numbering import members
from argosy.decide.prefixes.index import NO_MATCH, PrefixIndex
from argosy.decide.prefixes.prompt import Prompt
from argosy.decide.scheduling.nominations import ADAPTERS, MAX_CANDIDATES, Crowds, nominated

PROMPT = Prompt((1, 2), (), 2.0)
MANY = (1 << 1000) - 1
COUNTS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), max_size=80)


@given(COUNTS, st.frozensets(st.integers(0, 45)), st.integers(0, 50), st.integers(0, 45))
def test_the_least_crowded_are_given_and_no_others(
    counts: list[tuple[int, int]], among: frozenset[int], limit: int, turn: int
) -> None:
    crowds, known = Crowds(), dict[int, int]()
    crowds.picked(turn)
    for number, count in counts:
        crowds.changed(number, count)
        known[number] = count
    found = set(members(crowds.least(sum(1 << number for number in among), limit)))
    assert found <= among
    assert len(found) == min(limit, len(among))
    left = among - found
    assert not found or not left or max(known.get(n, 0) for n in found) <= min(known.get(n, 0) for n in left)


def test_equals_are_given_in_turn() -> None:
    crowds, seen = Crowds(), Counter[int]()
    for _ in range(30):
        number = next(members(crowds.least(0b111, 1)))
        crowds.picked(number)
        seen[number] += 1
    assert set(seen.values()) == {10}


def test_one_that_is_gone_is_forgotten() -> None:
    crowds = Crowds()
    crowds.changed(0, 5)
    crowds.forget(0)
    crowds.forget(0)
    assert crowds.least(0b11, 1) == 0b1


def test_of_a_few_all_are_candidates() -> None:
    few = (1 << MAX_CANDIDATES) - 1
    assert nominated(few, NO_MATCH, 0, 0, Crowds()) == few


def test_of_many_the_holders_the_session_the_adapters_and_the_least_crowded_are() -> None:
    index, crowds = PrefixIndex(room=10), Crowds()
    index.sent(500, PROMPT, 0.0)
    for number in range(1000):
        crowds.changed(number, 0 if number in (700, 701) else 3)
    adapters = sum(1 << number for number in range(800, 830))
    found = nominated(MANY, index.match(PROMPT), 1 << 600, adapters, crowds)
    assert {500, 600, 700, 701} <= set(members(found))
    assert found.bit_count() == MAX_CANDIDATES
    assert (found & adapters).bit_count() == ADAPTERS
    assert nominated(MANY, NO_MATCH, 0, 0b11, crowds) & 0b11 == 0b11


@given(st.frozensets(st.integers(0, 999), min_size=1), st.integers(0, 999), st.integers(0, 999))
def test_only_those_that_may_serve_are_ever_nominated(among: frozenset[int], holder: int, session: int) -> None:
    index, crowds = PrefixIndex(room=10), Crowds()
    index.sent(holder, PROMPT, 0.0)
    allowed = sum(1 << number for number in among)
    found = nominated(allowed, index.match(PROMPT), 1 << session, MANY, crowds)
    assert found
    assert found & ~allowed == 0
    assert found.bit_count() == min(MAX_CANDIDATES, len(among))
