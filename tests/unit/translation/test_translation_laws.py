"""Laws of translation, over routes good and bad."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from argosy.api.gateway import Gateway, HTTPRoute, HTTPRouteStatus, ParentReference, RouteParentStatus
from argosy.api.inference import EndpointPickerRef, InferencePool, PickerPort
from argosy.api.names import MODEL_HEADER, MODEL_METADATA_NAMESPACE, POOL_HEADER
from argosy.api.objects import decode
from argosy.decide.routing.match import Matcher, Request
from argosy.decide.routing.table import RouteEntry, RouteTable
from argosy.decide.translation.attachment import attachments
from argosy.decide.translation.clusters import NOWHERE, pool_cluster_name
from argosy.decide.translation.matches import covers, intersection, rule_problems
from argosy.decide.translation.plan import port_plans
from argosy.decide.translation.statuses import withdrawn
from argosy.decide.translation.translate import Observed, Translation, changed_statuses, translate
from argosy.edge.rpc.xds_encoding import ASSIGNMENTS, CLUSTERS, LISTENERS, ROUTES, Encoder
from harness.translation_inputs import Case, case_of, dumped, read_input

NOW = "2026-06-01T00:00:00Z"
HOSTNAMES = ("a.example.com", "b.a.example.com", "*.example.com", "*.com", "other.org")
PATHS = ("/", "/v1", "/v1/", "/v1/chat", "/v1x")
MODELS = ("one", "two")


def _match(path: Any = None, method: str | None = None, **headers: str) -> dict[str, Any]:
    match: dict[str, Any] = {"headers": [{"name": k.replace("_", "-"), "value": v} for k, v in headers.items()]}
    if path is not None:
        match["path"] = path if isinstance(path, dict) else {"type": "PathPrefix", "value": path}
    return match if method is None else {**match, "method": method}


GOOD_MATCHES = (
    *(_match(path) for path in PATHS),
    *(_match({"type": "Exact", "value": path}) for path in PATHS),
    *(_match(None, X_Gateway_Model_Name=model) for model in MODELS * 4),
    _match("/v1", X_Gateway_Model_Name="one", a="one"),
    _match("/v1", "POST", a="one", A="ignored"),
    _match(None, "GET", b="two"),
)
BAD_MATCHES = (
    _match({"type": "RegularExpression", "value": ".*"}),
    _match("/a//b"),
    _match("odd \x00"),
    _match(None, "BREW"),
    _match(None, None, x_argosy_pool="default/q"),
    _match(None, None, a="line\nbreak"),
)
GOOD, OTHER_GOOD, *OTHER_REFERENCES = (
    {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": name, "weight": weight}
    for weight in (1, 5, 0, -1)
    for name in ("p", "q", "absent")
)
REFERENCES = (*(GOOD, OTHER_GOOD) * 8, *OTHER_REFERENCES, {"name": "service"})
TIMEOUTS = (*({},) * 4, {"request": "10s"}, {"request": "1h30m"}, {"request": "0s"}, {"request": "5"})
REWRITE = {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}
HEADERS = {"set": [{"name": "A", "value": "100 %"}], "add": [{"name": "b", "value": "c"}], "remove": ["D"]}
ADDING = {"type": "RequestHeaderModifier", "requestHeaderModifier": HEADERS}
FILTERS = (*((),) * 9, ({"type": "RequestRedirect"},), (ADDING,), (ADDING, ADDING), (REWRITE, ADDING))
HOSTNAME_LISTS = (*((),) * 6, *((name,) for name in HOSTNAMES), HOSTNAMES[:3], ("Odd Name", "a.example.com"))

_rules = st.fixed_dictionaries(
    {
        "matches": st.lists(st.sampled_from(GOOD_MATCHES * 3 + BAD_MATCHES), max_size=2),
        "backendRefs": st.lists(st.sampled_from(REFERENCES), min_size=1, max_size=2),
        "timeouts": st.sampled_from(TIMEOUTS),
        "filters": st.sampled_from(FILTERS),
    }
)


def _route(name: str, created: str, hostnames: tuple[str, ...], rules: list[dict[str, Any]]) -> HTTPRoute:
    raw = {
        "metadata": {"namespace": "default", "name": name, "creationTimestamp": created},
        "spec": {
            "parentRefs": [{"name": "argosy", "namespace": "argosy-system"}],
            "hostnames": hostnames,
            "rules": rules,
        },
    }
    return decode(HTTPRoute, raw)


def _routes(name: str) -> st.SearchStrategy[HTTPRoute]:
    created = st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"])
    return st.builds(
        _route, st.just(name), created, st.sampled_from(HOSTNAME_LISTS), st.lists(_rules, min_size=1, max_size=2)
    )


several_routes = st.tuples(*(_routes(name) for name in ("first", "second", "third")))


def _case(routes: tuple[HTTPRoute, ...]) -> Case:
    pools = [
        {
            "kind": "InferencePool",
            "metadata": {"namespace": "default", "name": name},
            "spec": {"selector": {"matchLabels": {"app": name}}, "targetPorts": [{"number": 8000}]},
        }
        for name in ("p", "q")
    ]
    listener = {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}
    base = [
        {
            "kind": "GatewayClass",
            "metadata": {"name": "argosy"},
            "spec": {"controllerName": "argosy.dev/gateway-controller"},
        },
        {
            "kind": "Gateway",
            "metadata": {"namespace": "argosy-system", "name": "argosy"},
            "spec": {"gatewayClassName": "argosy", "listeners": [listener]},
        },
    ]
    case = case_of([*base, *pools])
    return case._replace(observed=msgspec.structs.replace(case.observed, routes=routes))


def _entries(routes: tuple[HTTPRoute, ...]) -> tuple[RouteEntry, ...]:
    return _table(routes).entries


def _table(routes: tuple[HTTPRoute, ...]) -> RouteTable:
    observed = _case(routes).observed
    (gateway,) = observed.gateways
    (port,) = port_plans(gateway, tuple(attachments(gateway, routes)), frozenset(pool.key for pool in observed.pools))
    return port.table


def _translated(routes: tuple[HTTPRoute, ...]) -> Translation:
    case = _case(routes)
    return translate(case.observed, case.settings, case.proxies, NOW)


@given(several_routes)
def test_one_route_never_changes_anothers_entries_or_status(routes: tuple[HTTPRoute, ...]) -> None:
    with_it, without_it = _entries(routes), _entries(routes[:2])
    assert tuple(entry for entry in with_it if entry.route.name != "third") == without_it
    statuses = {each.key: each for each in _translated(routes).statuses if isinstance(each, HTTPRoute)}
    for each in _translated(routes[:2]).statuses:
        if isinstance(each, HTTPRoute):
            assert statuses[each.key] == each


@given(several_routes, st.randoms(use_true_random=False))
def test_the_order_of_objects_is_irrelevant(routes: tuple[HTTPRoute, ...], rng: Any) -> None:
    shuffled = list(routes)
    rng.shuffle(shuffled)
    assert _translated(tuple(shuffled)).resources == _translated(routes).resources


def _refused_by_encoder(translation: Translation) -> Mapping[str, str]:
    (each,) = translation.resources.values()
    values = {CLUSTERS: each.clusters, ASSIGNMENTS: each.assignments, LISTENERS: each.listeners, ROUTES: each.routes}
    return Encoder().encode({"gateway": values}).refused


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_whatever_a_route_says_its_translation_is_of_envoys_types(path: str, name: str, value: str, host: str) -> None:
    match = {"path": {"type": "Exact", "value": f"/{path}"}, "headers": [{"name": name, "value": value}]}
    rules = [{"matches": [match, {"path": {"value": path}}], "backendRefs": [GOOD]}]
    assert not _refused_by_encoder(_translated((_route("odd", "", (host,), rules),)))


@given(st.from_regex(r"([0-9]{1,5}(h|m|s|ms)){1,4}", fullmatch=True, alphabet=st.characters(codec="ascii")))
@example("300h")
@example("99999h99999h99999h99999h")
@example("1ms")
def test_every_duration_that_is_taken_is_one_of_envoys(duration: str) -> None:
    translation = _translated((_route("slow", "", (), [{"backendRefs": [GOOD], "timeouts": {"request": duration}}]),))
    assert not _refused_by_encoder(translation)
    (resources,) = translation.resources.values()
    (route,) = next(each for each in translation.statuses if isinstance(each, HTTPRoute)).status.parents
    assert route.conditions[0].status == "True"
    seconds = sum(
        int(number) * {"h": 3600, "m": 60, "s": 1, "ms": 0.001}[unit]
        for number, unit in re.findall(r"([0-9]+)(h|ms|m|s)", duration)
    )
    routes = resources.routes[0]["virtual_hosts"][0]["routes"]
    picked = next(each["route"]["timeout"] for each in routes if "cluster" in each.get("route", {}))
    assert float(picked.removesuffix("s")) == pytest.approx(seconds)


@given(several_routes)
def test_statuses_that_were_written_are_not_written_again(routes: tuple[HTTPRoute, ...]) -> None:
    case = _case(routes)
    first = translate(case.observed, case.settings, case.proxies, NOW)
    by_key = {(each.KIND, each.key): each for each in first.statuses}
    observed = Observed(
        classes=tuple(by_key[each.KIND, each.key] for each in case.observed.classes),  # type: ignore[misc]
        gateways=tuple(by_key[each.KIND, each.key] for each in case.observed.gateways),  # type: ignore[misc]
        routes=tuple(by_key[each.KIND, each.key] for each in case.observed.routes),  # type: ignore[misc]
        pools=tuple(by_key[each.KIND, each.key] for each in case.observed.pools),  # type: ignore[misc]
    )
    later = translate(observed, case.settings, case.proxies, "2026-06-02T00:00:00Z")
    assert changed_statuses(observed, later.statuses) == ()
    assert later.resources == first.resources


@given(several_routes)
def test_statuses_that_are_withdrawn_say_nothing_of_ours_and_keep_what_others_say(
    routes: tuple[HTTPRoute, ...],
) -> None:
    theirs = RouteParentStatus(parent_ref=ParentReference(name="other"), controller_name="example.com/other")
    for each in _translated(routes).statuses:
        match each:
            case Gateway():
                left = withdrawn(each, NOW).status
                assert {(one.type, one.status) for one in left.conditions} == {
                    ("Accepted", "Unknown"), ("Programmed", "Unknown")
                }  # fmt: skip
                assert (left.addresses, left.listeners) == ((), ())
            case HTTPRoute():
                parents = (theirs, *each.status.parents)
                told = msgspec.structs.replace(each, status=HTTPRouteStatus(parents=parents))
                assert withdrawn(told, NOW).status.parents == (theirs,)
            case InferencePool():
                assert withdrawn(each, NOW).status.parents == ()


@pytest.mark.parametrize("failure_mode", ["FailClose", "FailOpen", None])
def test_envoys_of_ours_serve_a_pool_without_a_picker_whatever_it_says_of_that(failure_mode: str | None) -> None:
    case = read_input("pools-that-name-a-picker")
    reference = EndpointPickerRef(name="argosy-picker", port=PickerPort(number=9002), failure_mode=failure_mode)

    def sent(named: EndpointPickerRef | None) -> str:
        pools = tuple(
            msgspec.structs.replace(pool, spec=msgspec.structs.replace(pool.spec, endpoint_picker_ref=named))
            for pool in case.observed.pools
        )
        observed = msgspec.structs.replace(case.observed, pools=pools)
        return dumped(translate(observed, case.settings, case.proxies, NOW))

    assert sent(reference) == sent(None)
    assert "failure_mode_allow: true" in sent(reference)


@given(several_routes)
def test_rules_with_problems_leave_nothing_in_the_table(routes: tuple[HTTPRoute, ...]) -> None:
    for route in routes:
        bad = all(any(True for _ in rule_problems(rule)) for rule in route.spec.rules)
        if bad:
            assert not _entries((route,))


requests = st.builds(
    Request,
    method=st.sampled_from(["GET", "POST"]),
    authority=st.sampled_from(
        ["a.example.com", "b.a.example.com:8080", "x.example.com", "y.com", "example.com", "A.com"]
    ),
    path=st.sampled_from([*PATHS, "/v1/chat/completions", "/v1?q=1"]),
    headers=st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(MODELS), max_size=2),
    model=st.sampled_from([*MODELS, None]),
)


@given(several_routes, requests)
def test_envoys_routes_and_the_pickers_matcher_agree(routes: tuple[HTTPRoute, ...], request: Request) -> None:
    entry = Matcher(_table(routes)).entry(request)
    (configuration,) = next(iter(_translated(routes).resources.values())).routes
    clusters, status = _envoys_answer(configuration, request, picked="")
    pools = [] if entry is None else [pool for pool in entry.pools if pool.weight]
    if entry is None:
        assert clusters == {NOWHERE}
    else:
        assert clusters == {pool_cluster_name(pool.pool) for pool in pools}
        assert status == (None if pools else 500)
    for pool in pools:
        assert _envoys_answer(configuration, request, picked=str(pool.pool)) == ({pool_cluster_name(pool.pool)}, None)
        assert _timeout(configuration, request, str(pool.pool)) == f"{entry.timeout_s or 0:.3f}s"  # type: ignore[union-attr]


def _envoys_answer(configuration: dict[str, Any], request: Request, picked: str) -> tuple[set[str], int | None]:
    route = _first_route(configuration, request, picked)
    if "direct_response" in route:
        return set(), route["direct_response"]["status"]
    action = route["route"]
    if "cluster" in action:
        return {action["cluster"]}, None
    return {each["name"] for each in action["weighted_clusters"]["clusters"]}, None


def _timeout(configuration: dict[str, Any], request: Request, picked: str) -> str:
    timeout: str = _first_route(configuration, request, picked)["route"]["timeout"]
    return timeout


def _first_route(configuration: dict[str, Any], request: Request, picked: str) -> dict[str, Any]:
    """Do what Envoy does: the most specific virtual host, then its first route that matches."""
    host = request.authority.partition(":")[0].lower()
    domains = {domain: each for each in configuration["virtual_hosts"] for domain in each["domains"]}
    wildcards = [domain for domain in domains if domain.startswith("*.") and host.endswith(domain[1:])]
    chosen = domains.get(host) or domains[max(wildcards, key=len, default="*")]
    headers = {**request.headers, ":method": request.method}
    if picked:
        headers |= {POOL_HEADER: picked, **({MODEL_HEADER: request.model} if request.model else {})}
    return next(each for each in chosen["routes"] if _meets(each["match"], request, headers))


def _meets(match: dict[str, Any], request: Request, headers: dict[str, str]) -> bool:
    path = request.path.partition("?")[0]
    prefix = match.get("path_separated_prefix")
    (model,) = match.get("dynamic_metadata", [None])
    return (
        ("path" not in match or path == match["path"])
        and (prefix is None or path == prefix or path.startswith(f"{prefix}/"))
        and all(headers.get(each["name"]) == each["string_match"]["exact"] for each in match.get("headers", ()))
        and (model is None or (model["filter"], model["value"]["string_match"]["exact"]) == _metadata(request))
    )


def _metadata(request: Request) -> tuple[str, str | None]:
    return MODEL_METADATA_NAMESPACE, request.model


@given(st.sampled_from(("", *HOSTNAMES)), st.sampled_from(("", *HOSTNAMES)))
def test_an_intersection_is_covered_by_both(first: str, second: str) -> None:
    shared = intersection(first, second)
    assert shared == intersection(second, first)
    if shared is None:
        assert not covers(first, second)
        assert not covers(second, first)
    else:
        assert covers(first, shared)
        assert covers(second, shared)
