"""Spans on their way to a collector: OpenTelemetry's SDK makes, samples and queues them, and they leave by OTLP/HTTP.

Rules of this file:

- A thread sends. Whoever ends a span does not wait; what finds the queue full is dropped by the SDK, which says so.
- A collector that is away is tried again a few times; then its spans are lost, and counted. An end waits for none.
- Environment variables that the SDK reads count: OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_BSP_… and others.
"""

import asyncio
import contextlib
import http.client
import logging
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Literal

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer

from argosy import __version__
from argosy.base.errors import UserError
from argosy.edge.telemetry.collector import Collector

log = logging.getLogger(__name__)
Result = Literal["sent", "failed"]
TIMEOUT_S: Final = 5.0
PAUSES_S: Final = (1.0, 2.0)
"""Between tries of one batch."""
LATER: Final = frozenset((429, 502, 503, 504))
"""Statuses by which a collector asks for another try. Source: OTLP specification 1.x, OTLP/HTTP response."""
_SCOPES: Final = ResourceSpans.DESCRIPTOR.fields_by_number[2].name
_SCOPE: Final = ResourceSpans.DESCRIPTOR.fields_by_number[2].message_type.fields_by_number[1].name
"""`scope_spans` and `scope`; xds-protos has them by their older names. On the wire they are the same."""


class Exporter(SpanExporter):
    """Sends spans to a collector. `count` is told, by a thread, what became of so many."""

    def __init__(self, collector: Collector, count: Callable[[Result, int], None]) -> None:
        self._collector = collector
        self._count = count
        self._context = _context(collector)
        self._ending = threading.Event()
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; give whether they arrived."""
        why = self._sent(encoded(spans))
        if bool(why) != self._fails:
            self._fails = bool(why)
            log.warning("spans: %s: %s", self._collector.url, why or "they arrive again")
        self._count("failed" if why else "sent", len(spans))
        return SpanExportResult.FAILURE if why else SpanExportResult.SUCCESS

    def end(self) -> None:
        """Try nothing again, and nothing at all where the last try failed."""
        self._ending.set()

    def shutdown(self) -> None:
        """Do as at the end."""
        self._ending.set()

    def _sent(self, body: bytes) -> str:
        """Give why the body did not arrive; nothing when it did."""
        why = "not tried"
        if self._ending.is_set() and self._fails:
            return why
        for pause_s in (*PAUSES_S, 0.0):
            why, again = self._try(body)
            if not why or not again or self._ending.wait(pause_s):
                break
        return why

    def _try(self, body: bytes) -> tuple[str, bool]:
        """Give why it failed, and whether another try may help."""
        headers = {"content-type": "application/x-protobuf", "user-agent": f"argosy/{__version__}"}
        request = urllib.request.Request(  # noqa: S310 - `tracing` takes http and https alone
            self._collector.url, data=body, headers={**headers, **dict(self._collector.headers)}
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=self._context) as answer:  # noqa: S310
                answer.read()
        except urllib.error.HTTPError as error:
            error.close()
            return f"status {error.code}", error.code in LATER
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__, True
        return "", False


def encoded(spans: Sequence[ReadableSpan]) -> bytes:
    """Give spans of one process as a request to a collector (OTLP 1.x, binary)."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    if spans:
        _set(group.resource.attributes, spans[0].resource.attributes)
    scopes = getattr(group, _SCOPES).add()
    scope = getattr(scopes, _SCOPE)
    scope.name, scope.version = "argosy", __version__
    for span in spans:
        _encode(span, scopes.spans.add())
    return bytes(request.SerializeToString())


def _encode(span: ReadableSpan, into: Any) -> None:
    context = span.get_span_context()
    if context is not None:
        into.trace_id, into.span_id = context.trace_id.to_bytes(16), context.span_id.to_bytes(8)
        into.trace_state = context.trace_state.to_header()
    if span.parent is not None:
        into.parent_span_id = span.parent.span_id.to_bytes(8)
    into.name = span.name
    into.kind = span.kind.value + 1  # OTLP's begin with "unspecified"
    into.start_time_unix_nano, into.end_time_unix_nano = span.start_time or 0, span.end_time or 0
    into.status.code = span.status.status_code.value
    _set(into.attributes, span.attributes or {})


def _set(attributes: Any, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        _put(attributes.add(key=key).value, value)


def _put(into: Any, value: Any) -> None:
    match value:
        case bool():
            into.bool_value = value
        case int():
            into.int_value = value
        case float():
            into.double_value = value
        case str():
            into.string_value = value
        case _:
            for each in value:
                _put(into.array_value.values.add(), each)


def _context(collector: Collector) -> ssl.SSLContext | None:
    if not collector.url.startswith("https://"):
        return None
    try:
        return ssl.create_default_context(cafile=collector.authority)
    except OSError as error:
        raise UserError(f"{collector.authority}: no authorities for the collector: {error}") from error


@contextlib.asynccontextmanager
async def tracing(collector: Collector, service: str, count: Callable[[Result, int], None]) -> AsyncIterator[Tracer]:
    """Give a tracer whose spans go to the collector, as those of a service that the environment may rename.

    Raises `UserError` for a URL or authorities that cannot be used.
    """
    if not collector.url.startswith(("http://", "https://")):
        raise UserError(f"{collector.url!r} is no address of a collector; it begins with http:// or https://")
    exporter = Exporter(collector, count)
    resource = Resource.create({"service.name": service}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield provider.get_tracer("argosy", __version__)
    finally:
        exporter.end()
        await asyncio.to_thread(provider.shutdown)
