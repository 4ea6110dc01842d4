import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import PoolEndpoint
from argosy.decide.scheduling.filters import eligible, subset_of

A, B, C = (Endpoint(f"127.0.0.{n}", 8000) for n in (1, 2, 3))


def candidate(endpoint: Endpoint, *, ready: bool = True) -> PoolEndpoint:
    return PoolEndpoint(endpoint=endpoint, pod=Key("default", "p"), ready=ready, labels={})


def test_unready_endpoints_are_removed() -> None:
    assert eligible([candidate(A), candidate(B, ready=False)]) == (A,)


def test_a_subset_removes_what_is_outside_it() -> None:
    subset = frozenset({str(B), C.address, "10.0.0.1:1"})
    assert eligible([candidate(A), candidate(B), candidate(C)], subset) == (B, C)


def test_an_empty_subset_leaves_nothing() -> None:
    assert eligible([candidate(A)], frozenset()) == ()


@pytest.mark.parametrize(
    ("hint", "subset"),
    [
        ("127.0.0.1:8000, 127.0.0.2:8000", {"127.0.0.1:8000", "127.0.0.2:8000"}),
        (("127.0.0.1:8000", " 127.0.0.2:8000 "), {"127.0.0.1:8000", "127.0.0.2:8000"}),
        ("127.0.0.1", {"127.0.0.1"}),
        ("", set()),
        ((), set()),
        (("", 7), set()),
    ],
)
def test_the_subset_hint_is_a_string_or_a_list(hint: str | tuple[object, ...], subset: set[str]) -> None:
    assert subset_of(hint) == subset


endpoints = st.builds(Endpoint, st.sampled_from(["127.0.0.1", "127.0.0.2", "::1"]), st.integers(1, 3))


@given(
    st.lists(st.builds(candidate, endpoints, ready=st.booleans()), unique_by=lambda e: e.endpoint),
    st.none() | st.frozensets(endpoints.map(str) | st.just("127.0.0.1")),
)
def test_filters_only_shrink(candidates: list[PoolEndpoint], subset: frozenset[str] | None) -> None:
    found = eligible(candidates, subset)
    assert [e.endpoint for e in candidates if e.endpoint in found] == list(found)
    assert all(e.ready for e in candidates if e.endpoint in found)
    assert set(found) <= set(eligible(candidates))
