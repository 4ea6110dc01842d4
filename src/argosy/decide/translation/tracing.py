"""Envoy's spans: one of each sampled request, one of its call to the picker, sent to a collector by OTLP/HTTP.

Rules of this file:

- A client's `traceparent` says whether its request is sampled; of those without one a share begins a trace.
- A request's id stays what it is: nothing about its trace is written into it, and nothing is decided by it.
"""

from typing import Any, Final

import msgspec

from argosy.decide.translation.values import extension, http1_upstream, message, socket_address

COLLECTOR: Final = "argosy/collector"
SERVICE: Final = "argosy-gateway"
"""What the spans say they are of."""
_PARTS: Final = 1_000_000


class SpanCollector(msgspec.Struct, frozen=True, kw_only=True):
    """Where spans are sent, in plain text, and the share of requests without a trace that begin one, 0 to 1."""

    host: str
    port: int
    path: str = "/v1/traces"
    headers: tuple[tuple[str, str], ...] = ()
    share: float = 1.0


def collector_cluster(collector: SpanCollector) -> dict[str, Any]:
    """Give the collector's cluster; its name is looked up anew all the time."""
    hosts = [{"endpoint": {"address": socket_address(collector.host, collector.port)}}]
    return {
        "name": COLLECTOR,
        "type": "STRICT_DNS",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": COLLECTOR, "endpoints": [{"lb_endpoints": hosts}]},
        "typed_extension_protocol_options": http1_upstream(idle_timeout="4s"),
    }


def traced(collector: SpanCollector | None) -> dict[str, Any]:
    """Give the fields of a connection manager by which its requests are traced; none without a collector."""
    if collector is None:
        return {}
    kept = message("extensions.request_id.uuid.v3.UuidRequestIdConfig", pack_trace_reason=False)
    return {
        "tracing": {"provider": extension("tracers.opentelemetry", _tracer(collector))},
        "request_id_extension": {"typed_config": {**kept, "use_request_id_for_trace_sampling": False}},
    }


def _tracer(collector: SpanCollector) -> dict[str, Any]:
    host = f"[{collector.host}]" if ":" in collector.host else collector.host
    uri = f"http://{host}:{collector.port}{collector.path}"
    added = [{"header": {"key": name, "value": value}} for name, value in collector.headers]
    return message(
        "config.trace.v3.OpenTelemetryConfig",
        http_service={
            "http_uri": {"uri": uri, "cluster": COLLECTOR, "timeout": "5s"},
            "request_headers_to_add": added,
        },
        service_name=SERVICE,
        sampler=_sampler(collector.share),
    )


def _sampler(share: float) -> dict[str, Any]:
    ratio = message(
        "extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig",
        sampling_percentage={"numerator": round(share * _PARTS), "denominator": "MILLION"},
    )
    by_parent = message(
        "extensions.tracers.opentelemetry.samplers.v3.ParentBasedSamplerConfig",
        wrapped_sampler=extension("tracers.opentelemetry.samplers.trace_id_ratio_based", ratio),
    )
    return extension("tracers.opentelemetry.samplers.parent_based", by_parent)
