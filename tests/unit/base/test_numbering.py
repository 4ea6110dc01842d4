import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.base.endpoint import Endpoint
from argosy.base.numbering import Numbering, from_number, members

ENDPOINTS = tuple(Endpoint("10.0.0.1", port) for port in range(1, 8))
SETS = st.frozensets(st.sampled_from(ENDPOINTS))


@given(st.lists(SETS, max_size=8))
def test_numbers_stay_while_their_endpoints_do_and_are_few(states: list[frozenset[Endpoint]]) -> None:
    numbering = Numbering()
    for state in states:
        before = {each: numbering.of(each) for each in state}
        gone = numbering.keep_only(state)
        assert not set(gone) & set(before.values())
        assert {each: numbering.of(each) for each in state} == before
        assert len(set(before.values())) == len(state)
        assert all(numbering.endpoint(number) == each for each, number in before.items())
        assert set(members(numbering.set_of(state))) == set(before.values())
        for number in gone:
            with pytest.raises(KeyError):
                numbering.endpoint(number)
    assert all(numbering.of(each) < len(ENDPOINTS) for each in ENDPOINTS)


def test_a_number_that_nobody_has_is_an_error() -> None:
    with pytest.raises(KeyError):
        Numbering().endpoint(0)


@given(st.frozensets(st.integers(0, 70)), st.integers(0, 71))
def test_a_set_is_gone_through_from_any_number_on(numbers: frozenset[int], first: int) -> None:
    of = sum(1 << number for number in numbers)
    assert list(members(of)) == sorted(numbers)
    assert list(from_number(of, first)) == sorted(numbers, key=lambda number: (number < first, number))
