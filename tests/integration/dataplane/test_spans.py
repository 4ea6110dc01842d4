"""One trace from a client's request by a real Envoy to a real picker's decision."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from argosy.base.endpoint import Endpoint
from argosy.decide.translation.tracing import SpanCollector
from harness.collector import Collector, collector
from harness.dataplane import Backend, DataPlane, data_plane
from harness.picker_process import picker_process
from harness.waiting import until

CHAT = "/v1/chat/completions"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
IDS = ("not-a-uuid", "5c872d3d-92d5-4f12-bef3-a29fa460b49d")
ENVOY, PICKER = "argosy-gateway", "argosy-picker"


@contextlib.asynccontextmanager
async def traced(spans: Collector, folder: Path, *, share: float = 1.0) -> AsyncIterator[tuple[DataPlane, Backend]]:
    """Run Envoy and a picker, whose spans go to a collector."""
    url = urlsplit(spans.url)
    sent = SpanCollector(host=url.hostname or "", port=url.port or 0, headers=(("x-team", "a b"),), share=share)
    async with data_plane(folder, spans=sent) as plane:
        await plane.publish_model("m")
        backend = await plane.add_backend("m")
        async with picker_process(plane.store_address, folder, address=plane.address()) as picker:
            await plane.add_picker(Endpoint.parse(picker.address))
            await plane.programmed()
            yield plane, backend


@pytest.fixture
async def spans(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    async with collector() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield made


async def ask(plane: DataPlane, **headers: str) -> str:
    """Ask; give the answer's request id."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with plane.client() as client, client.post(CHAT, json={"model": "m"}, headers=given) as answer:
        assert answer.status == 200
        return answer.headers["x-request-id"]


async def test_client_proxy_decision_and_engine_are_of_one_trace(spans: Collector, tmp_path: Path) -> None:
    async with traced(spans, tmp_path) as (plane, backend):
        assert await ask(plane, traceparent=SAMPLED) != ""
        await until(lambda: len(spans.spans) == 3)
    assert {span.trace for span in spans.spans} == {TRACE}
    (decision,) = (span for span in spans.spans if span.service == PICKER)
    ours = {span.span: span for span in spans.spans if span.service == ENVOY}
    call = ours.pop(decision.parent)
    (request,) = ours.values()
    assert (request.parent, call.parent) == (PARENT, request.span)
    assert request.began_ns <= decision.began_ns <= decision.ended_ns <= request.ended_ns
    assert decision.attributes["argosy.endpoint"] == str(backend.endpoint)
    received = next(seen.headers["traceparent"] for seen, _ in backend.requests if seen.path == CHAT)
    assert received == f"00-{TRACE}-{request.span}-01"
    assert "a b" in {headers.get("x-team") for headers in spans.headers}


async def test_a_request_without_a_trace_begins_one_that_proxy_and_decision_share(
    spans: Collector, tmp_path: Path
) -> None:
    async with traced(spans, tmp_path) as (plane, _):
        await ask(plane)
        await until(lambda: len(spans.spans) == 3)
    assert len({span.trace for span in spans.spans}) == 1
    assert sorted(span.service for span in spans.spans if not span.parent) == [ENVOY]


async def test_who_is_not_sampled_leaves_no_span_and_no_request_loses_its_id(spans: Collector, tmp_path: Path) -> None:
    async with traced(spans, tmp_path, share=0.0) as (plane, backend):
        await ask(plane)
        await ask(plane, traceparent=UNSAMPLED)
        for request_id in IDS:
            assert await ask(plane, x_request_id=request_id, traceparent=UNSAMPLED) == request_id
        await ask(plane, x_request_id=IDS[0], traceparent=SAMPLED)
        await until(lambda: len(spans.spans) == 3)
    assert {span.trace for span in spans.spans} == {TRACE}
    assert {span.attributes["argosy.request_id"] for span in spans.spans if span.service == PICKER} == {IDS[0]}
    received = [seen.headers["x-request-id"] for seen, _ in backend.requests if seen.path == CHAT]
    assert received[2:] == [*IDS, IDS[0]]


async def test_a_collector_that_is_away_costs_no_request(spans: Collector, tmp_path: Path) -> None:
    spans.url = "http://127.0.0.1:1"
    async with traced(spans, tmp_path) as (plane, _):
        for _ in range(3):
            await ask(plane, traceparent=SAMPLED)
