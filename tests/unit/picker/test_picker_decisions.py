import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from argosy import __version__
from argosy.api.gateway import BackendRef, HTTPRoute, HTTPRouteSpec, ParentReference, PathMatch, RouteMatch, RouteRule
from argosy.api.inference import GROUP, EndpointPickerRef, PickerPort
from argosy.api.names import (
    DECISIONS_PATH,
    ENGINE_LABEL,
    INPUT_HEADER_NAMES,
    MAX_BODY_BYTES,
    MODELS_ANNOTATION,
    STEERING_HEADERS,
    TRUSTED_INPUTS,
    TRUSTED_LISTENERS,
)
from argosy.api.objects import Key, Object, ObjectMeta
from argosy.apps.picker.debug import ENDPOINTS_PATH, documents
from argosy.apps.picker.observation import EngineObserver
from argosy.apps.picker.pick import Pick, RequestHead
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.inputs import NO_INPUTS, RequestInputs
from argosy.edge.rpc.ext_proc import Answer
from argosy.engines.llama_cpp import REQUESTS_RUNNING, REQUESTS_WAITING
from argosy.engines.signals import Signals
from harness.picker_bench import CHAT, HEAD, Bench
from harness.services import gateway, gateway_class, pod, pool, rewrite, route, service

ONE, TWO, THREE = "127.1.0.1", "127.1.0.2", "127.1.0.3"


def error(answer: Pick | Answer) -> tuple[int, dict[str, Any]]:
    assert isinstance(answer, Answer)
    assert ("content-type", "application/json") in answer.headers
    return answer.status, json.loads(answer.body)["error"]


def get(path: str, method: str = "GET") -> dict[str, str]:
    return {":method": method, ":path": path}


def test_a_request_goes_to_a_replica_of_its_model_and_says_where_it_may_go_next() -> None:
    bench = Bench(gateway(), *service("a", [ONE, TWO], model="m"), *service("b", [THREE], model="n"))
    pick = bench.pick()
    assert pick.pool == Key("default", "a")
    assert pick.destination == f"{ONE}:8000,{TWO}:8000"
    assert dict(pick.set_headers) == {
        "x-gateway-destination-endpoint": pick.destination,
        "x-argosy-pool": "default/a",
        "x-gateway-model-name": "m",
    }
    assert bench.pick(b'{"model": "n"}').destination == f"{THREE}:8000"


def test_steering_headers_of_the_client_are_removed_or_overwritten() -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"))
    pick = bench.picker.decide(RequestHead(headers={**HEAD, **dict.fromkeys(STEERING_HEADERS, "evil")}), CHAT)
    assert isinstance(pick, Pick)
    assert {*pick.remove_headers, *dict(pick.set_headers)} == set(STEERING_HEADERS)
    assert bench.pick().remove_headers == ()


SAID = {
    "x-llm-d-inference-objective": "premium",
    "x-gateway-inference-fairness-id": "team-a",
    "x-slo-ttft-ms": "250",
    "x-session-id": "s1",
    "x-argosy-explain": "1",
}
BELIEVED = RequestInputs(objective="premium", fairness_id="team-a", ttft_ms=250, session="s1", explain=True)
LISTENER = "argosy-system/argosy/8080"


def annotated(obj: Any, name: str, value: str) -> Any:
    return replace(obj, metadata=replace(obj.metadata, annotations={name: value}))


def said_at(bench: Bench, listener: str, body: bytes = CHAT) -> Pick:
    pick = bench.picker.decide(RequestHead(headers={**HEAD, **SAID}, listener=listener), body)
    assert isinstance(pick, Pick)
    assert set(pick.remove_headers) == set(SAID), "no engine sees inputs, whoever is believed"
    return pick


def test_inputs_are_believed_at_listeners_that_the_gateway_trusts_and_nowhere_else() -> None:
    trusting = annotated(gateway(ports=(8080, 8081)), TRUSTED_LISTENERS, "on-8080")
    bench = Bench(trusting, *service("a", [ONE], model="m"))
    assert said_at(bench, LISTENER).inputs == BELIEVED
    for listener in ("argosy-system/argosy/8081", "", "somebody/else/8080"):
        assert said_at(bench, listener).inputs == NO_INPUTS
    bench.see(gateway(ports=(8080, 8081)), *service("a", [ONE], model="m"))
    assert said_at(bench, LISTENER).inputs == NO_INPUTS


def test_a_pool_believes_what_it_says_of_everybody_for_its_own_requests() -> None:
    talkative = annotated(pool("a"), TRUSTED_INPUTS, "session, explain")
    rest = (route("a", "m"), pod("a", ONE), *service("b", [TWO], model="n"))
    bench = Bench(gateway(), talkative, *rest)
    for listener in (LISTENER, "", "somebody/else/8080"):
        assert said_at(bench, listener).inputs == RequestInputs(session="s1", explain=True)
        assert said_at(bench, listener, b'{"model": "n"}').inputs == NO_INPUTS


def test_a_believed_session_goes_where_it_was_and_one_that_is_not_believed_does_not() -> None:
    def other_session(bench: Bench) -> tuple[str, str]:
        """Give where a session is picked, and where its next request is after one in between."""
        first = said_at(bench, LISTENER)
        bench.picker.ended(first, answered=True)
        between = bench.pick(CHAT)
        bench.picker.ended(between, answered=True)
        long = b'{"model": "m", "messages": [{"role": "user", "content": "' + b"x" * 65_536 + b'"}]}'
        return first.destination.split(",")[0], said_at(bench, LISTENER, long).destination.split(",")[0]

    world = service("a", [ONE, TWO, THREE], model="m")
    first, again = other_session(Bench(annotated(gateway(), TRUSTED_LISTENERS, "on-8080"), *world))
    assert first == again
    first, again = other_session(Bench(gateway(), *world))
    assert first != again


def test_sessions_of_one_name_are_different_ones_in_different_pools() -> None:
    """Else a client that one pool believes could move the conversations of another."""
    trusting = annotated(gateway(), TRUSTED_LISTENERS, "on-8080")

    def picks(*models: bytes) -> list[str]:
        bench = Bench(trusting, *service("a", [ONE, TWO], model="m"), *service("b", [THREE], model="n"))
        made = []
        for number, model in enumerate(models):
            words = str(number).encode() * 65_536
            body = b'{"model": "%b", "messages": [{"role": "user", "content": "%b"}]}' % (model, words)
            pick = said_at(bench, LISTENER, body)
            bench.picker.ended(pick, answered=True)
            made.append(pick.destination.split(",")[0])
        return made

    assert picks(b"m", b"m")[1] == picks(b"m", b"n", b"m")[2] == f"{ONE}:8000"


def test_every_input_header_is_removed_under_each_of_its_names() -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"))
    pick = bench.picker.decide(RequestHead(headers={**HEAD, **dict.fromkeys(INPUT_HEADER_NAMES, "1")}), CHAT)
    assert isinstance(pick, Pick)
    assert pick.remove_headers == tuple(sorted(INPUT_HEADER_NAMES))


def test_a_model_that_nobody_serves_is_404_with_the_ones_that_are() -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"))
    status, found = error(bench.ask(b'{"model": "gpt-5"}'))
    assert (status, found["code"], found["param"], found["type"]) == (
        404,
        "model_not_found",
        "model",
        "invalid_request_error",
    )
    assert "`gpt-5` does not exist" in found["message"]
    assert "`m`" in found["message"]
    assert bench.value("argosy_refused_total", reason="model_not_found") == 1


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"model": 1}', b'{"model":"m","model":"n"}', b'{"model":"\xff"}', b"{}"]
)
def test_a_body_that_names_no_model_for_sure_is_400(body: bytes) -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"))
    status, found = error(bench.ask(body))
    assert (status, found["type"]) == (400, "invalid_request_error")
    assert bench.value("argosy_refused_total", reason="bad_body") == 1


def test_a_body_above_the_limit_is_413_as_soon_as_its_length_is_known() -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"))
    packed = RequestHead(headers={**HEAD, "content-encoding": "gzip"})
    assert error(bench.picker.early_answer(packed) or Answer(status=0, body=b""))[0] == 415
    announced = RequestHead(headers={**HEAD, "content-length": str(MAX_BODY_BYTES + 1)})
    endless = RequestHead(headers={**HEAD, "content-length": "9" * 5000})
    for head in (announced, endless):
        assert error(bench.picker.early_answer(head) or Answer(status=0, body=b""))[0] == 413
    assert error(bench.ask(b" " * (MAX_BODY_BYTES + 1)))[0] == 413
    for length in (str(MAX_BODY_BYTES), "", "many"):
        assert bench.picker.early_answer(RequestHead(headers={**HEAD, "content-length": length})) is None


@pytest.mark.parametrize(
    ("objects", "sentence"),
    [
        ([], "no running replica (replicas 0"),
        ([pod("a", ONE, ready=False), pod("a", TWO, ready=False)], "has 2 replicas, none of them ready"),
    ],
)
def test_without_a_ready_replica_it_is_503_that_says_which_service_and_why(
    objects: list[Object], sentence: str
) -> None:
    bench = Bench(gateway(), *service("a", [], model="m"), *objects)
    answer = bench.ask()
    status, found = error(answer)
    assert (status, "`a`" in found["message"], sentence in found["message"]) == (503, True, True)
    assert isinstance(answer, Answer)
    assert ("x-llm-d-request-dropped-reason", "rejected-no-endpoints") in answer.headers
    assert bench.picker.beliefs.loads.held == 0


def test_a_route_that_leads_nowhere_is_500() -> None:
    bench = Bench(gateway(), route("a", "m", pool="gone"))
    status, found = error(bench.ask())
    assert (status, "default/a" in found["message"]) == (500, True)


@pytest.mark.parametrize("subset", [f"{TWO}:8000", (f"{TWO}:8000", "10.0.0.1:8000")])
def test_a_subset_hint_bounds_the_pick(subset: Any) -> None:
    bench = Bench(gateway(), *service("a", [ONE, TWO], model="m"))
    assert {bench.pick(subset=subset).destination for _ in range(3)} == {f"{TWO}:8000"}
    status, found = error(bench.ask(subset=("10.0.0.1:8000",)))
    assert (status, "subset" in found["message"]) == (503, True)
    assert error(bench.ask(subset=""))[0] == 503


def test_the_models_of_all_gateways_are_listed() -> None:
    bench = Bench(gateway(), gateway("second"), *service("b", [ONE], model="n"), *service("a", [], model="m"))
    answer = bench.picker.decide(RequestHead(headers={**HEAD, **get("/v1/models?x=1")}), None)
    assert isinstance(answer, Answer)
    assert (answer.status, [m["id"] for m in json.loads(answer.body)["data"]]) == (200, ["m", "n"])


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (get("/nowhere"), 404, "not_found"),
        (get("/v1/models", "DELETE"), 404, "not_found"),
        (get("/v1/chat/completions", "POST"), 400, "empty_body"),
    ],
)
def test_a_request_without_a_body_that_no_route_takes_is_refused(
    headers: dict[str, str], status: int, code: str
) -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"))
    answer = bench.picker.decide(RequestHead(headers={**HEAD, **headers}), None)
    found_status, found = error(answer)
    assert (found_status, found["code"]) == (status, code)


def attached(route: HTTPRoute, *, section: str) -> HTTPRoute:
    parents = tuple(replace(parent, section_name=section) for parent in route.spec.parent_refs)
    return replace(route, spec=replace(route.spec, parent_refs=parents))


def catch_all(name: str) -> HTTPRoute:
    backend = BackendRef(name=name, group=GROUP, kind="InferencePool")
    spec = route(name, "unused").spec
    return HTTPRoute(
        metadata=ObjectMeta(name=f"{name}-all", namespace="default"),
        spec=HTTPRouteSpec(parent_refs=spec.parent_refs, rules=(RouteRule(backend_refs=(backend,)),)),
    )


@pytest.mark.parametrize("body", [None, b"{}", b'{"model": "whatever\\r\\n"}'])
def test_a_route_without_a_model_takes_requests_by_their_path(body: bytes | None) -> None:
    bench = Bench(gateway(), catch_all("a"), pool("a"), pod("a", ONE))
    pick = bench.pick(body)
    assert "x-gateway-model-name" not in dict(pick.set_headers)
    assert bench.value("argosy_requests_total", pool="default/a", model="") == 1


def test_a_model_at_a_path_that_its_route_does_not_take_is_not_said_to_be_missing() -> None:
    narrow = route("a", "m")
    match = narrow.spec.rules[0].matches[0]
    rule = replace(narrow.spec.rules[0], matches=(replace(match, path=PathMatch(value="/v1")),))
    bench = Bench(gateway(), replace(narrow, spec=replace(narrow.spec, rules=(rule,))), pool("a"), pod("a", ONE))
    status, found = error(bench.picker.decide(RequestHead(headers={**HEAD, ":path": "/v2/x"}), CHAT))
    assert (status, found["code"]) == (404, "not_found")


def test_a_request_falls_under_the_routes_of_the_listener_that_it_came_in_by_alone() -> None:
    both = gateway(ports=(8080, 8081))
    to_a, to_b = (attached(route(name, "m"), section=section) for name, section in (("a", "on-8080"), ("b", "on-8081")))
    bench = Bench(both, to_a, to_b, pool("a"), pool("b"), pod("a", ONE), pod("b", TWO))
    listeners = ("argosy-system/argosy/8080", "argosy-system/argosy/8081")
    assert [bench.pick(listener=name).pool.name for name in listeners] == ["a", "b"]
    bench.see(both, to_a, pool("a"), pod("a", ONE))
    status, found = error(bench.ask(listener=listeners[1]))
    assert (status, found["code"], "`m` does not exist" in found["message"]) == (404, "model_not_found", True)
    assert bench.pick(listener=listeners[0]).pool.name == "a"


def test_a_listener_that_is_not_known_yet_has_the_routes_of_all() -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"))
    assert bench.pick(listener="argosy-system/argosy/9999").pool.name == "a"


def test_a_gateway_is_ours_by_the_controller_of_its_class_and_not_by_the_class_name() -> None:
    of_another = replace(gateway(), spec=replace(gateway().spec, gateway_class_name="somebody"))
    bench = Bench(of_another, *service("a", [ONE], model="m"))
    assert error(bench.ask())[0] == 404
    bench.see(gateway_class("somebody"), of_another, *service("a", [ONE], model="m"))
    assert bench.pick().pool.name == "a"
    bench.see(gateway_class("somebody", controller="example.com/other"), of_another, *service("a", [ONE], model="m"))
    assert error(bench.ask())[0] == 404


def of_others(name: str, *hostnames: str, reference: str = "argosy-picker", path: str = "/") -> tuple[Object, ...]:
    """Give a pool whose requests come through a gateway of another maker, its route there, and its pod."""
    made = pool(name)
    spec = replace(made.spec, endpoint_picker_ref=EndpointPickerRef(name=reference, port=PickerPort(number=9002)))
    rule = RouteRule(
        matches=(RouteMatch(path=PathMatch(value=path)),),
        backend_refs=(BackendRef(name=name, group=GROUP, kind="InferencePool"),),
    )
    parent = ParentReference(name="theirs", namespace="istio-system")
    route = HTTPRoute(
        metadata=ObjectMeta(name=name, namespace="default"),
        spec=HTTPRouteSpec(parent_refs=(parent,), hostnames=hostnames, rules=(rule,)),
    )
    return (replace(made, spec=spec), route)


def test_requests_of_other_gateways_go_by_the_routes_that_attach_there() -> None:
    theirs = of_others("x", "x.example.com")
    bench = Bench(gateway(), *service("a", [ONE], model="m"), *theirs, pod("x", TWO))
    for body in (None, CHAT, b'{"model": "whatever"}'):
        assert bench.pick(body, **{":authority": "x.example.com"}).destination == f"{TWO}:8000"
    assert bench.pick().destination == f"{ONE}:8000", "then come those of our own gateways"
    status, found = error(bench.ask(b'{"model": "whatever"}'))
    assert (status, found["code"]) == (404, "model_not_found")


def test_requests_at_our_own_listeners_do_not_see_routes_of_other_gateways() -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"), *of_others("x"), pod("x", TWO))
    assert bench.pick(listener=LISTENER).destination == f"{ONE}:8000"
    assert bench.pick().destination == f"{TWO}:8000"


@pytest.mark.parametrize(
    "elsewhere",
    [of_others("x", reference="their-own-picker"), of_others("x", "Not A Name"), of_others("x", path="/a/../b")],
    ids=["another picker is named", "a hostname that is none", "a path that is not honoured"],
)
def test_a_route_elsewhere_that_is_not_for_us_changes_nothing(elsewhere: tuple[Object, ...]) -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"), *elsewhere, pod("x", TWO))
    assert bench.pick().destination == f"{ONE}:8000"
    assert error(bench.ask(b'{"model": "whatever"}'))[1]["code"] == "model_not_found"


def test_reservations_are_counted_by_pool_and_given_back() -> None:
    bench = Bench(gateway(), *service("a", [ONE, TWO], model="m"))
    picks = [bench.pick() for _ in range(4)]
    assert bench.value("argosy_reservations", pool="default/a") == 4
    assert bench.value("argosy_picks_total", pool="default/a", endpoint=f"{ONE}:8000") == 2
    assert bench.value("argosy_requests_total", pool="default/a", model="m") == 4
    for pick in picks:
        bench.picker.ended(pick, answered=True)
    assert bench.value("argosy_reservations", pool="default/a") == 0
    assert bench.picker.beliefs.loads.held == 0


def test_an_answer_by_a_fallback_is_counted_and_the_request_counts_there() -> None:
    bench = Bench(gateway(), *service("a", [ONE, TWO], model="m"))
    pick = bench.pick()
    bench.picker.served(pick, f"{TWO}:8000")
    assert bench.value("argosy_fallback_served_total", pool="default/a") == 1
    assert bench.picker.beliefs.loads.held_at(Endpoint(TWO, 8000)) == 1
    assert bench.pick().destination.startswith(TWO), "the endpoint that did not take it stands last for a while"
    bench.picker.ended(pick, answered=True)


@pytest.mark.parametrize("by", [f"{THREE}:8000", "10.9.9.9:1"])
def test_an_answer_by_somebody_that_was_not_named_is_counted(by: str) -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"), *service("b", [THREE], model="n"))
    pick = bench.pick()
    bench.picker.served(pick, by)
    assert bench.value("argosy_served_not_picked_total", pool="default/a") == 1
    bench.picker.ended(pick, answered=True)
    assert bench.picker.beliefs.loads.held == 0


def test_an_answer_by_the_pick_is_nothing_to_count() -> None:
    bench = Bench(gateway(), *service("a", [ONE, TWO], model="m"))
    pick = bench.pick()
    bench.picker.served(pick, f"{ONE}:8000")
    assert bench.value("argosy_served_not_picked_total", pool="default/a") == 0
    assert bench.value("argosy_fallback_served_total", pool="default/a") == 0


def page(*series: tuple[str, str]) -> bytes:
    return "".join(f'{name}{{n="{n}"}} {value}\n' for n, (name, value) in enumerate(series)).encode()


def test_load_that_others_put_on_a_replica_keeps_requests_away() -> None:
    bench = Bench(gateway(), *service("a", [ONE, TWO], model="m"))
    observer = EngineObserver(bench.picker, bench.metrics, clock=bench.clock)
    assert observer.targets() == {Endpoint(ONE, 8000), Endpoint(TWO, 8000)}
    mark = observer.scrape_began(Endpoint(ONE, 8000))
    observer.scraped(mark, page((REQUESTS_RUNNING, "2"), (REQUESTS_WAITING, "1.0")))
    assert [bench.pick().destination[: len(ONE)] for _ in range(4)] == [TWO, TWO, TWO, ONE]
    assert observer.busy(Endpoint(TWO, 8000))


def test_a_page_is_read_in_the_words_of_its_engine() -> None:
    theirs = pod("a", ONE, **{ENGINE_LABEL: "sglang"})
    bench = Bench(gateway(), *service("a", [TWO], model="m"), theirs)
    observer = EngineObserver(bench.picker, bench.metrics, clock=bench.clock)
    said = b"vllm:num_requests_running 9\nsglang:num_running_reqs 2\nsglang:num_queue_reqs 3\n"
    observer.scraped(observer.scrape_began(Endpoint(ONE, 8000)), said)
    (load,) = bench.picker.beliefs.loads.believed([Endpoint(ONE, 8000)], bench.clock.now_s)
    assert load.foreign == 5


def test_the_figures_stand_under_the_names_of_llm_ds_router_too() -> None:
    bench = Bench(gateway(), *service("a", [ONE, TWO], model="m"))
    observer = EngineObserver(bench.picker, bench.metrics, clock=bench.clock)
    said = page((REQUESTS_RUNNING, "2"), (REQUESTS_WAITING, "4"), ("vllm:kv_cache_usage_perc", "0.5"))
    observer.scraped(observer.scrape_began(Endpoint(ONE, 8000)), said)
    observer.scraped(observer.scrape_began(Endpoint(TWO, 8000)), page((REQUESTS_RUNNING, "0")))
    kept, ended = bench.pick(), bench.pick()
    assert kept.reservation != ended.reservation
    bench.clock.now_s += 3
    bench.picker.ended(ended, answered=True)
    bench.ask(b"{")
    bench.ask(b'{"model": "nope"}')
    request = {"model_name": "m", "target_model_name": "m", "fairness_id": "default-flow", "priority": "0"}
    nobody = request | {"model_name": "", "target_model_name": ""}
    values: list[tuple[str, dict[str, str], float]] = [
        ("request_total", request, 2),
        ("request_running", request, 1),
        ("request_duration_seconds_sum", request, 3),
        ("request_error_total", nobody | {"error_code": "BadRequest"}, 1),
        ("request_error_total", nobody | {"error_code": "NotFound"}, 1),
        ("scheduler_e2e_duration_seconds_count", {}, 2),
        ("ready_endpoints", {"name": "default/a"}, 2),
        ("average_queue_size", {"name": "default/a"}, 2),
        ("std_dev_queue_size", {"name": "default/a"}, 2),
        ("average_running_requests", {"name": "default/a"}, 1),
        ("average_kv_cache_utilization", {"name": "default/a"}, 0.5),
        ("per_endpoint_queue_size", {"name": "default/a", "model_server_endpoint": f"{ONE}:8000"}, 4),
        ("info", {"commit": "", "build_ref": f"argosy-{__version__}"}, 1),
    ]
    for name, labels, value in values:
        assert bench.value(f"llm_d_epp_{name}", **labels) == pytest.approx(value), name
    bench.see(gateway())
    assert bench.value("llm_d_epp_request_running", **request) == 1
    bench.picker.ended(kept, answered=True)
    bench.see(gateway())
    for name in ("request_total", "request_running", "request_duration_seconds_sum"):
        assert bench.value(f"llm_d_epp_{name}", **request) is None


def test_an_endpoint_is_busy_with_the_requests_of_others_too() -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"))
    observer = EngineObserver(bench.picker, bench.metrics, clock=bench.clock)
    one = Endpoint(ONE, 8000)
    assert not observer.busy(one)
    observer.scraped(observer.scrape_began(one), page((REQUESTS_RUNNING, "2")))
    assert observer.busy(one)
    observer.scraped(observer.scrape_began(one), page((REQUESTS_RUNNING, "0")))
    assert not observer.busy(one)


def test_a_request_by_a_foreign_gateway_is_told_its_id_and_gets_one_where_it_has_none() -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"))
    assert bench.picker.told(bench.pick()) == (("x-request-id", "r-1"),)
    assert bench.picker.told(bench.pick(listener="ours")) == ()
    refused, by_ours = bench.ask(b"{"), bench.ask(b"{", listener="ours")
    assert isinstance(refused, Answer)
    assert isinstance(by_ours, Answer)
    assert refused.headers == (*by_ours.headers, ("x-request-id", "r-1"))
    made = [bench.pick(x_request_id="") for _ in range(2)]
    ids = [dict(pick.set_headers)["x-request-id"] for pick in made]
    assert [bench.picker.told(pick) for pick in made] == [(("x-request-id", each),) for each in ids]
    assert len(set(ids)) == 2
    assert all(bench.picker.records.find(each) for each in ids)


def test_a_page_of_what_is_gone_says_nothing() -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"))
    observer = EngineObserver(bench.picker, bench.metrics, clock=bench.clock)
    mark = observer.scrape_began(Endpoint(ONE, 8000))
    bench.see(gateway())
    observer.scraped(mark, page((REQUESTS_RUNNING, "2")))
    assert not bench.picker.beliefs.loads.believed([Endpoint(ONE, 8000)], bench.clock.now_s)[0].foreign


def test_a_page_without_the_families_says_nothing() -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"))
    observer = EngineObserver(bench.picker, bench.metrics, clock=bench.clock)
    observer.scraped(observer.scrape_began(Endpoint(ONE, 8000)), b"other 1\n")
    assert bench.value("argosy_scrapes_total", result="failed") == 1
    assert not observer.busy(Endpoint(ONE, 8000))


odd_numbers = st.floats().map(str) | st.sampled_from(["1e308", "-1e308", "9" * 400, "+Inf", "-Inf", "NaN", "1_0", "x"])


@given(st.lists(st.tuples(st.sampled_from([REQUESTS_RUNNING, REQUESTS_WAITING]), odd_numbers), max_size=4))
def test_whatever_a_page_says_it_is_taken_in_or_counted_as_failed(series: list[tuple[str, str]]) -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"))
    observer = EngineObserver(bench.picker, bench.metrics, clock=bench.clock)
    observer.scraped(observer.scrape_began(Endpoint(ONE, 8000)), page(*series))
    results = [bench.value("argosy_scrapes_total", result=result) or 0 for result in ("ok", "failed")]
    assert sum(results) == 1
    assert bench.pick().pool.name == "a"


def test_running_and_waiting_requests_beyond_every_number_do_not_end_the_picker() -> None:
    bench = Bench(gateway(), *service("a", [ONE, TWO], model="m"))
    observer = EngineObserver(bench.picker, bench.metrics, clock=bench.clock)
    said = page((REQUESTS_RUNNING, "1e308"), (REQUESTS_WAITING, "1e308"))
    observer.scraped(observer.scrape_began(Endpoint(ONE, 8000)), said)
    assert bench.pick().destination.startswith(TWO)


def shown(bench: Bench, path: str, name: str = "") -> Any:
    content = documents(bench.picker)[path](name)
    return None if content is None else json.loads(content)


def test_a_decision_is_kept_and_made_once_more_when_somebody_asks() -> None:
    bench = Bench(gateway(), *service("a", [ONE, TWO], model="m"), pod("a", THREE, ready=False))
    pick = bench.pick(x_request_id="id-1")
    said = shown(bench, DECISIONS_PATH, "id-1")
    assert said["picked"] == pick.destination.split(",")[0]
    assert said["outcome"] == "under way"
    assert said["removed"] == [{"why": "it is not ready", "count": 1, "endpoints": [f"{THREE}:8000"]}]
    bench.picker.served(pick, said["picked"])
    bench.clock.now_s += 2
    bench.picker.ended(pick, answered=True)
    assert shown(bench, DECISIONS_PATH, "id-1")["outcome"] == f"answered by {said['picked']} after 2.000 s"
    bench.ask(b'{"model": "nope"}', x_request_id="id-2")
    assert shown(bench, DECISIONS_PATH, "id-2")["sentence"] == "It was refused: model_not_found."
    bench.see(gateway(), *service("a", [], model="m"))
    bench.ask(x_request_id="id-3")
    refused = shown(bench, DECISIONS_PATH, "id-3")
    assert (refused["sentence"], refused["pool"]) == ("It was refused: no_endpoints.", "default/a")
    listed = shown(bench, DECISIONS_PATH)
    assert [each["request"] for each in listed] == ["id-3", "id-2", "id-1"]
    assert [each["picked"] for each in listed] == ["", "", said["picked"]]
    assert shown(bench, DECISIONS_PATH, "id-4") is None


def test_what_is_believed_of_endpoints_is_shown() -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"), *service("b", [TWO], model="n"))
    bench.pick()
    believed = shown(bench, ENDPOINTS_PATH)
    assert {pool: [each["held"] for each in loads] for pool, loads in believed.items()} == {
        "default/a": [1], "default/b": [0]
    }  # fmt: skip
    assert list(shown(bench, ENDPOINTS_PATH, "default/b")) == ["default/b"]
    assert shown(bench, ENDPOINTS_PATH, "default/c") is None


def test_series_of_what_is_gone_are_dropped_once_no_request_needs_them() -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"))
    pick = bench.pick()
    bench.see(gateway())
    assert bench.value("argosy_picks_total", pool="default/a", endpoint=f"{ONE}:8000") is None
    assert bench.value("argosy_requests_total", pool="default/a", model="m") is None
    assert bench.value("argosy_reservations", pool="default/a") == 1
    bench.picker.ended(pick, answered=True)
    assert bench.value("argosy_reservations", pool="default/a") == 0
    bench.see(gateway())
    assert bench.value("argosy_reservations", pool="default/a") is None
    assert list(text_string_to_metric_families(bench.metrics.page().decode()))


def test_a_pool_is_shown_before_its_first_request() -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"))
    assert bench.value("argosy_reservations", pool="default/a") == 0
    assert bench.value("argosy_served_not_picked_total", pool="default/a") == 0


events = st.lists(st.sampled_from(["a", "b", "bad", "end", "fall back", "scrape"]), max_size=30)


@given(events, st.integers(0, 9))
def test_the_same_seed_and_the_same_events_give_the_same_decisions(script: list[str], seed: int) -> None:
    def decisions() -> list[Any]:
        bench = Bench(
            gateway(), *service("a", [ONE, TWO], model="m"), *service("b", [THREE, TWO], model="n"), seed=seed
        )
        made: list[Any] = []
        held: list[Pick] = []
        for step in script:
            bench.clock.now_s += 0.1
            if step in "ab":
                held.append(bench.pick(CHAT if step == "a" else b'{"model": "n"}'))
                made.append(held[-1])
            elif step == "bad":
                made.append(bench.ask(b"{"))
            elif step == "end" and held:
                bench.picker.ended(held.pop(0), answered=True)
            elif step == "fall back" and held:
                bench.picker.served(held[0], f"{TWO}:8000")
            elif step == "scrape":
                mark = bench.picker.beliefs.loads.scrape_began(Endpoint(ONE, 8000))
                bench.picker.beliefs.loads.scraped(mark, Signals(running=3), bench.clock.now_s)
        return made

    assert decisions() == decisions()


def chat(words: str, model: str = "m") -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": words}]}).encode()


def test_a_conversation_goes_back_to_where_it_is_cached_and_that_is_counted_and_explained() -> None:
    bench = Bench(gateway(), *service("a", [ONE, TWO], model="m"))
    first = bench.pick(chat("x" * 5000), x_request_id="one")
    bench.pick(chat("y" * 5000))
    again = bench.pick(chat("x" * 5000 + "and more"), x_request_id="two")
    assert again.endpoints[0] == first.endpoints[0]
    explained = json.loads(documents(bench.picker)[DECISIONS_PATH]("two") or b"")
    assert "it holds 81% of the prompt" in explained["sentence"]
    assert (explained["profile"], round(explained["prompt_matched"])) == ("default", 4)
    assert bench.value("argosy_prompt_matched_ratio_count") == 3
    assert bench.value("llm_d_epp_prefix_indexer_hit_bytes_sum") == 4 * 1024
    assert bench.value("llm_d_epp_prefix_indexer_size") == bench.value("argosy_prefix_blocks") == 11


def test_the_same_words_for_another_model_or_salt_are_other_words() -> None:
    bench = Bench(gateway(), *service("a", [ONE], model="m"))
    bench.pick(chat("x" * 5000))
    salted = json.loads(chat("x" * 5000)) | {"cache_salt": "tenant"}
    bench.pick(json.dumps(salted).encode())
    assert bench.value("argosy_prompt_matched_bytes_sum") == 0


def test_one_of_the_ten_that_may_serve_is_picked_among_a_thousand_always() -> None:
    addresses = [f"127.{2 + number // 250}.0.{number % 250 + 1}" for number in range(1000)]
    bench = Bench(gateway(), *service("a", addresses, model="m"))
    allowed = tuple(f"{address}:8000" for address in addresses[::100])
    picked = set()
    for number in range(300):
        bench.pick(chat(f"{number % 7} " * 2000))
        pick = bench.pick(chat(f"{number % 7} " * 2000), subset=allowed)
        assert {str(endpoint) for endpoint in pick.endpoints} <= set(allowed)
        picked.add(str(pick.endpoints[0]))
    assert picked == set(allowed)


def test_one_of_those_that_have_the_adapter_is_picked_among_a_thousand() -> None:
    addresses = [f"127.{2 + number // 250}.0.{number % 250 + 1}" for number in range(1000)]
    bench = Bench(gateway(), *service("a", addresses, model="pirate"))
    loaded = {Endpoint(address, 8000) for address in addresses[::100]}
    for endpoint in loaded:
        mark = bench.picker.beliefs.loads.scrape_began(endpoint)
        signals = Signals(running=0, adapters=frozenset({"pirate"}))
        bench.picker.beliefs.scraped(mark, signals, bench.clock.now_s)
    for number in range(100):
        pick = bench.pick(chat(f"{number}", model="pirate"))
        assert pick.endpoints[0] in loaded
        bench.picker.ended(pick, answered=True)


def decided_rewrites(bench: Bench, by: str, model: str, target: str) -> float | None:
    labels = {"model_rewrite_name": by, "model_name": model, "target_model": target}
    return bench.value("llm_d_epp_model_rewrite_decisions_total", **labels)


def test_a_rewritten_request_is_routed_by_what_it_asks_for_and_served_as_what_it_becomes() -> None:
    adapter, base = pod("a", ONE), pod("a", TWO)
    objects = (
        gateway(),
        route("a", "m"),
        pool("a"),
        annotated(adapter, MODELS_ANNOTATION, "m tuned"),
        annotated(base, MODELS_ANNOTATION, "m"),
    )
    bench = Bench(*objects, rewrite("rollout", "a", (["m"], ["tuned"])))
    pick = bench.pick(x_request_id="id", accept_encoding="gzip", x_llm_d_model_name_rewrite="evil")
    assert [str(endpoint) for endpoint in pick.endpoints] == [f"{ONE}:8000"]
    assert pick.rewritten is not None
    assert (pick.rewritten.asked, pick.rewritten.served) == ("m", "tuned")
    assert dict(pick.set_headers)["x-gateway-model-name"] == "m"
    assert dict(pick.set_headers)["x-llm-d-model-name-rewrite"] == "tuned"
    assert pick.remove_headers == ("accept-encoding",)
    said = shown(bench, DECISIONS_PATH, "id")
    assert said["rewritten"] == {"asked": "m", "served": "tuned", "by": "default/rollout", "rule": 0}
    assert said["removed"][0]["endpoints"] == [f"{TWO}:8000"]
    assert decided_rewrites(bench, "default/rollout", "m", "tuned") == 1
    bench.see(*objects)
    assert decided_rewrites(bench, "default/rollout", "m", "tuned") is None
    plain = bench.pick(accept_encoding="gzip")
    assert (plain.rewritten, plain.remove_headers, len(plain.endpoints)) == (None, (), 2)
    assert "x-llm-d-model-name-rewrite" not in dict(plain.set_headers)


def test_a_model_that_no_replica_serves_is_503_by_the_name_that_it_would_be_served_by() -> None:
    objects = (gateway(), route("a", "m"), pool("a"), annotated(pod("a", ONE), MODELS_ANNOTATION, "m"))
    bench = Bench(*objects, rewrite("rollout", "a", (["m"], ["tuned"])))
    status, said = error(bench.ask())
    assert (status, "serves `tuned` yet" in said["message"]) == (503, True)


def test_words_count_for_the_model_that_they_are_served_by() -> None:
    service_a = service("a", [ONE], model="m")
    bench = Bench(gateway(), *service_a)
    bench.pick(chat("x" * 5000))
    bench.see(gateway(), *service_a, rewrite("rollout", "a", (["m"], ["tuned"])))
    bench.pick(chat("x" * 5000))
    assert bench.value("argosy_prompt_matched_bytes_sum") == 0
    bench.pick(chat("x" * 5000))
    assert bench.value("argosy_prompt_matched_bytes_sum") > 4 * 1024


def test_a_rule_for_all_models_takes_those_that_a_route_without_a_model_lets_through() -> None:
    bench = Bench(gateway(), catch_all("a"), pool("a"), pod("a", ONE), rewrite("all", "a", ([], ["tuned"])))
    for asked in ("x", "y"):
        found = bench.pick(chat("", asked)).rewritten
        assert found is not None
        assert (found.asked, found.served) == (asked, "tuned")
    # No word of a client's is a label.
    assert decided_rewrites(bench, "default/all", "", "tuned") == 2
    assert bench.pick(b"no JSON").rewritten is None
    assert bench.pick(None).rewritten is None
    assert bench.pick(chat("", "x" * 513)).rewritten is None
    assert bench.pick(chat("", "tuned")).rewritten is None
    long = bench.pick(chat("", "x" * 512), x_request_id="long")
    assert long.rewritten is not None
    assert long.rewritten.asked == "x" * 512
    assert len(shown(bench, DECISIONS_PATH, "long")["rewritten"]["asked"]) == 128


def test_a_rewrite_is_of_its_own_pool() -> None:
    of_b = rewrite("all", "b", ([], ["tuned"]))
    bench = Bench(gateway(), *service("a", [ONE], model="m"), *service("b", [TWO], model="n"), of_b)
    assert bench.pick().rewritten is None
    assert bench.pick(chat("", "n")).rewritten is not None
