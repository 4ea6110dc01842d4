"""A collector of spans: takes OTLP over HTTP, in binary, and reads it with OpenTelemetry's own messages."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

SCOPES = ResourceSpans.DESCRIPTOR.fields_by_number[2].name
"""`scope_spans`, or its older name, which is the same on the wire."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A span as it came; ids in hexadecimal."""

    service: str
    resource: dict[str, Any]
    name: str
    kind: int
    trace: str
    span: str
    parent: str
    state: str
    began_ns: int
    ended_ns: int
    attributes: dict[str, Any]


class Collector:
    """What came."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Span] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        """What to answer with first, one each; then 200."""

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if self.statuses:
            return web.Response(status=self.statuses.pop(0))
        assert request.content_type == "application/x-protobuf"
        self.spans.extend(spans_of(body))
        return web.Response(body=ExportTraceServiceResponse().SerializeToString(), content_type=request.content_type)


def spans_of(body: bytes) -> list[Span]:
    """Read a request."""
    return [
        _span(span, _values(group.resource.attributes))
        for group in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in getattr(group, SCOPES)
        for span in scope.spans
    ]


def _span(span: Any, resource: dict[str, Any]) -> Span:
    return Span(
        service=resource["service.name"],
        resource=resource,
        name=span.name,
        kind=span.kind,
        trace=span.trace_id.hex(),
        span=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        state=span.trace_state,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=_values(span.attributes),
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, kind)


@contextlib.asynccontextmanager
async def collector(address: str = "127.0.0.1") -> AsyncIterator[Collector]:
    """Run a collector until the block ends."""
    made = Collector()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.add_routes([web.post("/v1/traces", made.take)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, 0).start()
        made.url = f"http://{address}:{runner.addresses[0][1]}"
        yield made
    finally:
        await runner.cleanup()
