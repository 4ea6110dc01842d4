from typing import Any

import pytest

from argosy.decide.translation.listeners import listener
from argosy.decide.translation.tracing import COLLECTOR, SpanCollector, collector_cluster
from argosy.decide.translation.values import socket_address


def manager(collector: SpanCollector | None) -> dict[str, Any]:
    made = listener(socket_address("0.0.0.0", 8080), "http/8080", chain="c", request_timeout_s=1.0, spans=collector)
    found: dict[str, Any] = made["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def test_without_a_collector_nothing_speaks_of_traces() -> None:
    assert manager(None).keys().isdisjoint(("tracing", "request_id_extension"))


@pytest.mark.parametrize(
    ("host", "uri"),
    [("otel.tracing.svc", "http://otel.tracing.svc:4318/v1/traces"), ("::1", "http://[::1]:4318/v1/traces")],
)
def test_spans_go_to_the_collectors_address_with_its_headers(host: str, uri: str) -> None:
    collector = SpanCollector(host=host, port=4318, headers=(("x-team", "a"),), share=0.25)
    tracer = manager(collector)["tracing"]["provider"]["typed_config"]
    service = tracer["http_service"]
    assert (service["http_uri"]["uri"], service["http_uri"]["cluster"]) == (uri, COLLECTOR)
    assert service["request_headers_to_add"] == [{"header": {"key": "x-team", "value": "a"}}]
    share = tracer["sampler"]["typed_config"]["wrapped_sampler"]["typed_config"]["sampling_percentage"]
    assert share == {"numerator": 250_000, "denominator": "MILLION"}
    cluster = collector_cluster(collector)
    (host_at,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert cluster["name"] == COLLECTOR
    assert host_at["endpoint"]["address"] == socket_address(host, 4318)
