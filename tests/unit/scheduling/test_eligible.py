import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.names import BOTH_ROLES, DECODE_ROLE, KV_LAYOUT_LABEL, PREFILL_ROLE, ROLE_LABEL
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from argosy.base.numbering import Numbering, members
from argosy.decide.routing.endpoints import PoolEndpoint
from argosy.decide.scheduling.eligible import answering, eligible, prefilling_for, subset_of, why_removed

A, B, C = (Endpoint(f"127.0.0.{n}", 8000) for n in (1, 2, 3))


def candidate(endpoint: Endpoint, *, ready: bool = True) -> PoolEndpoint:
    return PoolEndpoint(endpoint=endpoint, pod=Key("default", "p"), ready=ready, labels={})


def kept(
    candidates: list[PoolEndpoint], subset: frozenset[str] | None = None, model: str | None = None
) -> tuple[Endpoint, ...]:
    numbers = Numbering()
    found = eligible(candidates, model, numbers.set_of).within(subset)
    return tuple(sorted(numbers.endpoint(number) for number in members(found)))


def test_unready_endpoints_are_removed() -> None:
    assert kept([candidate(A), candidate(B, ready=False)]) == (A,)


def test_a_subset_removes_what_is_outside_it() -> None:
    subset = frozenset({str(B), C.address, "10.0.0.1:1"})
    assert kept([candidate(A), candidate(B), candidate(C)], subset) == (B, C)


def test_an_empty_subset_leaves_nothing() -> None:
    assert kept([candidate(A)], frozenset()) == ()


@pytest.mark.parametrize(
    ("hint", "subset"),
    [
        ("127.0.0.1:8000, 127.0.0.2:8000", {"127.0.0.1:8000", "127.0.0.2:8000"}),
        (("127.0.0.1:8000", " 127.0.0.2:8000 "), {"127.0.0.1:8000", "127.0.0.2:8000"}),
        (("127.0.0.1:8000,127.0.0.2:8000", "127.0.0.3"), {"127.0.0.1:8000", "127.0.0.2:8000", "127.0.0.3"}),
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
    found = kept(candidates, subset)
    assert all(e.ready for e in candidates if e.endpoint in found)
    assert set(found) <= set(kept(candidates))


@given(
    st.lists(
        st.builds(
            PoolEndpoint,
            endpoint=endpoints,
            pod=st.just(Key("default", "p")),
            ready=st.booleans(),
            labels=st.just({}),
            models=st.frozensets(st.sampled_from("ab"), max_size=2),
        )
    ),
    st.none() | st.frozensets(endpoints.map(str) | st.just("127.0.0.1")),
    st.none() | st.sampled_from("abc"),
)
def test_whatever_is_removed_has_a_reason_and_nothing_else_has(
    candidates: list[PoolEndpoint], subset: frozenset[str] | None, model: str | None
) -> None:
    stay = {each.endpoint for each in candidates if why_removed(each, subset, model) is None}
    assert tuple(sorted(stay)) == kept(candidates, subset, model)


def test_an_endpoint_that_says_what_it_answers_to_is_asked_for_nothing_else() -> None:
    named = msgspec.structs.replace(candidate(A), models=frozenset({"old"}))
    assert kept([named, candidate(B)], model="new") == (B,)
    assert kept([named, candidate(B)], model="old") == (A, B)
    assert kept([named, candidate(B)]) == (A, B)


def working(endpoint: Endpoint, role: str, layout: str = "") -> PoolEndpoint:
    labels = {ROLE_LABEL: role, KV_LAYOUT_LABEL: layout}
    return PoolEndpoint(endpoint=endpoint, pod=Key("default", "p"), ready=True, labels=labels)


def test_a_worker_that_only_computes_prompts_answers_nobody() -> None:
    prefill, decode = working(A, PREFILL_ROLE), working(B, DECODE_ROLE)
    assert list(answering([prefill, decode])) == [decode]
    assert why_removed(prefill, None, None) == "it computes prompts for others only"
    assert why_removed(decode, None, None) is None


def test_prompts_are_computed_by_workers_of_either_role_that_share_the_layout() -> None:
    workers = [working(A, PREFILL_ROLE, "a"), working(B, BOTH_ROLES, "a"), working(C, PREFILL_ROLE, "b")]
    assert list(prefilling_for([*workers, working(C, DECODE_ROLE, "a")], "a")) == workers[:2]
