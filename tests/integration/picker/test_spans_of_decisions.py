"""Spans of a picker's decisions, as a collector gets them."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness.collector import Collector, collector
from harness.picker_process import Client, PickerProcess, client_of, destination, picker_process
from harness.waiting import until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
PROMPT = "words that nobody else may see"
NAME = "argosy.pick"


@pytest.fixture
async def spans(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """The collector that the environment names."""
    async with collector() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield made


@contextlib.asynccontextmanager
async def picker_in(store: str, folder: Path) -> AsyncIterator[tuple[PickerProcess, Client]]:
    async with picker_process(store, folder) as picker, client_of(picker.address) as client:
        yield picker, client


async def request(client: Client, *, model: str = "m", by_call: str = "", **headers: str) -> str:
    """Have a request picked and answered; gives who answered, or nothing where it is refused.

    `by_call` is the `traceparent` of the call.
    """
    stream = client.stream(**({"traceparent": by_call} if by_call else {}))
    await stream.headers(x_request_id="r", **headers)
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
    reply = await stream.body(json.dumps(body).encode())
    if reply.WhichOneof("response") == "immediate_response":
        return ""
    served = destination(reply).split(",")[0]
    await stream.response(served)
    await stream.end()
    return served


async def test_a_decision_is_a_span_of_the_requests_own_trace_and_says_what_was_decided(
    spans: Collector, store_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=a%20b, Authorization=Bearer%20t")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    async with picker_in(store_address, tmp_path) as (picker, client):
        served = await request(client, traceparent=SAMPLED, tracestate="vendor=1")
        await request(client, traceparent=SAMPLED, model="unknown")
        await until(lambda: len(spans.spans) == 2)
        assert await picker.metric("argosy_spans_total", result="made") == 2
        await until(lambda: spans_are(picker, "sent", 2))
    picked, refused = sorted(spans.spans, key=lambda span: span.began_ns)
    assert (picked.name, picked.trace, picked.parent, picked.state) == (NAME, TRACE, PARENT, "vendor=1")
    assert (picked.service, picked.resource["deployment.environment.name"]) == ("argosy-picker", "test")
    assert picked.began_ns < picked.ended_ns < picked.began_ns + 10**9
    told = picked.attributes
    assert (told["argosy.pool"], told["argosy.endpoint"], told["argosy.candidates"]) == ("default/a", served, 2)
    assert (told["gen_ai.request.model"], told["argosy.request_id"]) == ("m", "r")
    assert told["argosy.reason"].startswith(f"{served} was picked: ")
    assert told["argosy.pick.requests"] == 0.0
    assert (refused.trace, refused.attributes["error.type"]) == (TRACE, "model_not_found")
    assert PROMPT not in str(spans.spans)
    assert (spans.headers[0]["x-team"], spans.headers[0]["authorization"]) == ("a b", "Bearer t")


async def test_who_is_not_sampled_has_no_span_and_who_has_no_trace_gets_one_of_its_own(
    spans: Collector, store_address: str, tmp_path: Path
) -> None:
    async with picker_in(store_address, tmp_path) as (picker, client):
        await request(client, traceparent=UNSAMPLED)
        await request(client)
        await request(client, traceparent="nonsense")
        await request(client, traceparent=SAMPLED)
        assert await picker.end() == 0
    # An end sends what was made.
    assert len(spans.spans) == 3
    assert len({span.trace for span in spans.spans}) == 3
    assert sorted(bool(span.parent) for span in spans.spans) == [False, False, True]


async def test_the_span_of_the_proxys_call_is_nearer_than_that_of_the_client(
    spans: Collector, store_address: str, tmp_path: Path
) -> None:
    async with picker_in(store_address, tmp_path) as (picker, client):
        await request(client, by_call=f"00-{TRACE}-{'1' * 16}-01", traceparent=SAMPLED, tracestate="vendor=1")
        await request(client, by_call=f"00-{TRACE}-{'2' * 16}-00", traceparent=SAMPLED)
        assert await picker.end() == 0
    assert [(span.trace, span.parent, span.state) for span in spans.spans] == [(TRACE, "1" * 16, "vendor=1")]


async def test_the_sampler_that_the_environment_names_decides_about_requests_without_a_trace(
    spans: Collector, store_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    async with picker_in(store_address, tmp_path) as (picker, client):
        await request(client)
        await request(client, traceparent=SAMPLED)
        assert await picker.end() == 0
    assert [span.trace for span in spans.spans] == [TRACE]


async def spans_are(picker: PickerProcess, result: str, count: int) -> bool:
    return await picker.metric("argosy_spans_total", result=result) == count


async def test_a_collector_that_is_busy_is_asked_again(spans: Collector, store_address: str, tmp_path: Path) -> None:
    spans.statuses = [503]
    async with picker_in(store_address, tmp_path) as (picker, client):
        await request(client, traceparent=SAMPLED)
        await until(lambda: spans_are(picker, "sent", 1))
    assert len(spans.headers) == 2
    assert len(spans.spans) == 1


async def test_a_collector_that_refuses_costs_its_spans_and_no_request(
    spans: Collector, store_address: str, tmp_path: Path
) -> None:
    spans.statuses = [400]
    async with picker_in(store_address, tmp_path) as (picker, client):
        assert await request(client, traceparent=SAMPLED)
        await until(lambda: spans_are(picker, "failed", 1))
        assert await request(client, traceparent=SAMPLED)
        await until(lambda: spans_are(picker, "sent", 1))


async def test_a_collector_that_is_away_holds_up_neither_requests_nor_the_end(
    store_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    async with picker_in(store_address, tmp_path) as (picker, client):
        assert await request(client, traceparent=SAMPLED)
        async with asyncio.timeout(10):
            assert await picker.end() == 0


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "it begins with http:// or https://"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "spans are sent as http/protobuf alone",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_EXPORTER_OTLP_HEADERS": "a"},
            "'a' has no value; write name=value",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c:4318", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/file"},
            "/no/file: no authorities for the collector",
        ),
    ],
)
def test_an_environment_that_cannot_be_meant_is_said_at_once(
    names: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    addresses = ("--address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0")
    command = (sys.executable, "-m", "argosy", "picker", "--store", "unix:///no/store", *addresses)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert sentence in done.stderr


@pytest.mark.parametrize("off", [{}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_whoever_names_no_collector_loads_nothing_of_opentelemetrys_sdk(off: dict[str, str]) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", **off} if off else {}
    program = (
        "import sys, argosy.apps.picker.process; from argosy.cli.collector import collector;"
        f"print(collector({environment!r}), 'opentelemetry.sdk' in sys.modules)"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "False"]
