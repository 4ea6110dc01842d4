"""Decisions as spans of the traces that requests belong to. Source: W3C Trace Context; OpenTelemetry's conventions.

Rules of this file:

- The span of a proxy's call is the parent, where the proxy traces; else that which the request names. It says whether
  the trace is sampled; where there is none, the sampler decides.
- A span has what `argosy why` says of the pick, and no word of a prompt.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

from opentelemetry.trace import SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from argosy.apps.picker.metrics import PickerMetrics
from argosy.apps.picker.witness import Decided
from argosy.decide.scheduling.explanation import explanation
from argosy.decide.scheduling.profiles import Profile
from argosy.decide.scheduling.record import Record
from argosy.edge.telemetry.collector import Collector
from argosy.edge.telemetry.spans import tracing

NAME: Final = "argosy.pick"
SERVICE: Final = "argosy-picker"
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class DecisionTracer:
    """Makes a span of each decision whose request is sampled."""

    def __init__(self, tracer: Tracer, metrics: PickerMetrics) -> None:
        self._tracer = tracer
        self._metrics = metrics

    def decided(self, decided: Decided) -> None:
        """Make the span, whole."""
        head = decided.head
        told = {"traceparent": head.traceparent, "tracestate": head.headers.get("tracestate", "")}
        parent = _PROPAGATOR.extract(told if head.traceparent else head.headers)
        span = self._tracer.start_span(NAME, parent, SpanKind.SERVER, start_time=decided.began_ns)
        if span.is_recording():
            for name, value in _attributes(decided.record, decided.profile):
                span.set_attribute(name, value)
            self._metrics.count_spans("made", 1)
        span.end(decided.ended_ns)

    def finished(self, record: Record) -> None:
        """Nothing: how the answer went is in the span of the proxy."""


def _attributes(record: Record, profile: Profile | None) -> Iterator[tuple[str, str | int | float]]:
    said = explanation(record, (), profile)
    yield "argosy.request_id", record.request
    yield "argosy.reason", said.sentence
    for name, text in (
        ("argosy.pool", record.pool),
        ("argosy.route", record.route),
        ("gen_ai.request.model", record.model),
        ("gen_ai.response.model", record.rewritten.served if record.rewritten else ""),
        ("error.type", record.refused),
    ):
        if text:
            yield name, text
    if said.candidates:
        picked = said.candidates[0]
        yield "argosy.endpoint", picked.endpoint
        yield "argosy.candidates", record.eligible
        yield "argosy.profile", said.profile
        yield "argosy.prompt_blocks", said.prompt_blocks
        yield "argosy.cost", picked.cost
        yield from ((f"argosy.pick.{name}", value) for name, value in picked.inputs.items())


@contextlib.asynccontextmanager
async def tracing_decisions(collector: Collector, metrics: PickerMetrics) -> AsyncIterator[DecisionTracer]:
    """Make spans while the context lasts; what was made by then is sent when it ends."""
    async with tracing(collector, SERVICE, metrics.count_spans) as tracer:
        yield DecisionTracer(tracer, metrics)
