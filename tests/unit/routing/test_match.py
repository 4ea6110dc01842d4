import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.objects import Key
from argosy.decide.routing.match import Matcher, Request, matches, weighted_pool
from argosy.decide.routing.table import HeaderEquals, Match, RouteEntry, RouteTable, WeightedPool

POOL = WeightedPool(pool=Key("default", "p"))


def request(path: str = "/v1/chat/completions", **more: object) -> Request:
    return Request(**{"method": "POST", "authority": "a.example.com:80", "path": path, "headers": {}, **more})  # type: ignore[arg-type]


def entry(number: int, match: Match) -> RouteEntry:
    return RouteEntry(match=match, route=Key("default", f"r{number}"), pools=(POOL,))


@pytest.mark.parametrize(
    ("prefix", "path", "matched"),
    [
        ("/", "/v1/x", True),
        ("/", "/", True),
        ("/v1", "/v1", True),
        ("/v1", "/v1/", True),
        ("/v1/", "/v1", True),
        ("/v1", "/v1/x?y=/z", True),
        ("/v1", "/v1?x", True),
        ("/v1", "/v1#x", True),
        ("/v1", "/v12", False),
        ("/v1", "/", False),
        ("/v1", "/x/v1", False),
    ],
)
def test_a_path_prefix_matches_whole_segments(prefix: str, path: str, *, matched: bool) -> None:
    assert matches(Match(path=prefix), request(path)) is matched


def test_an_exact_path_matches_itself_with_any_query_alone() -> None:
    exact = Match(path="/v1", path_exact=True)
    assert [matches(exact, request(path)) for path in ("/v1", "/v1?a", "/v1/", "/v1/x")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("hostname", "authority", "matched"),
    [
        ("", "anything", True),
        ("a.example.com", "a.example.com", True),
        ("a.example.com", "A.example.COM:8080", True),
        ("a.example.com", "b.example.com", False),
        ("*.example.com", "a.example.com:80", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", ".example.com", False),
        ("*.example.com", "aexample.com", False),
        ("a.example.com", "[::1]:80", False),
    ],
)
def test_hostnames_match_without_port_and_case(hostname: str, authority: str, *, matched: bool) -> None:
    assert matches(Match(hostname=hostname), request(authority=authority)) is matched


def test_all_conditions_must_hold() -> None:
    wanted = Match(path="/v1", method="POST", model="m", headers=(HeaderEquals(name="x-team", value="a"),))
    good = {"path": "/v1/x", "method": "POST", "model": "m", "headers": {"x-team": "a"}}
    assert matches(wanted, request(**good))
    for field, bad in [
        ("path", "/v2"),
        ("method", "GET"),
        ("model", "n"),
        ("model", None),
        ("headers", {"x-team": "b"}),
    ]:
        assert not matches(wanted, request(**{**good, field: bad}))


def test_an_entry_for_any_model_counts_only_before_the_models_own() -> None:
    entries = (entry(0, Match(path="/x")), entry(1, Match(path="/", model="m")), entry(2, Match(path="/")))
    matcher = Matcher(RouteTable(entries=entries))
    assert matcher.entry(request("/x/1", model="m")) == entries[0]
    assert matcher.entry(request("/y", model="m")) == entries[1]
    assert matcher.entry(request("/y", model="n")) == entries[2]


def test_a_draw_falls_on_a_later_pool_once_the_earlier_ones_have_their_share() -> None:
    pools = tuple(WeightedPool(pool=Key("default", name), weight=weight) for name, weight in (("a", 1), ("b", 3)))
    split = RouteEntry(match=Match(path="/"), route=Key("default", "r"), pools=pools)
    assert [weighted_pool(split, draw) for draw in (0.2, 0.3)] == [pools[0].pool, pools[1].pool]


def test_a_header_of_the_clients_never_counts_for_the_model() -> None:
    assert not matches(Match(model="m"), request(headers={"x-gateway-model-name": "m"}))


match_values = st.builds(
    Match,
    path=st.sampled_from(["/", "/v1", "/v1/chat"]),
    path_exact=st.booleans(),
    method=st.sampled_from(["", "POST"]),
    model=st.sampled_from([None, "a", "b"]),
    hostname=st.sampled_from(["", "h", "*.h"]),
)


@given(
    st.lists(match_values, max_size=6),
    st.sampled_from(["/", "/v1", "/v1/chat", "/x"]),
    st.sampled_from([None, "a", "b", "unknown"]),
    st.sampled_from(["h", "x.h", "y"]),
)
def test_the_first_match_of_the_table_wins(found: list[Match], path: str, model: str | None, authority: str) -> None:
    entries = tuple(itertools.starmap(entry, enumerate(found)))
    asked = request(path, model=model, authority=authority)
    expected = next((e for e in entries if matches(e.match, asked)), None)
    assert Matcher(RouteTable(entries=entries)).entry(asked) is expected


@given(st.lists(st.integers(0, 4), max_size=4), st.floats(0, 1, exclude_max=True))
def test_weights_are_shares_of_the_draw(weights: list[int], draw: float) -> None:
    pools = tuple(WeightedPool(pool=Key("default", str(n)), weight=w) for n, w in enumerate(weights))
    chosen = weighted_pool(RouteEntry(match=Match(), route=Key("", "r"), pools=pools), draw)
    if not sum(weights):
        assert chosen is None
    else:
        assert chosen is not None
        number = int(chosen.name)
        assert weights[number] > 0
        assert sum(weights[:number]) <= draw * sum(weights) < sum(weights[: number + 1])
