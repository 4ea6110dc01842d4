"""The picker's process against a served store, with a gRPC client in Envoy's place."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from msgspec.structs import replace

from argosy.api.gateway import PathMatch, RouteMatch
from argosy.api.names import MAX_BODY_BYTES
from argosy.api.objects import Object
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.serve import serve_store
from argosy.edge.rpc.health import PICKER_NAMES
from harness.picker_process import Client, PickerProcess, client_of, destination, picker_process
from harness.services import gateway, gateway_class, route, service
from harness.waiting import until

CHAT = b'{"model": "m", "messages": [{"role": "user", "content": "Hello"}]}'
ONE, TWO = "127.1.0.1", "127.1.0.2"
POOL = "default/a"


@pytest.fixture
def store() -> InMemoryStore:
    numbers = iter(range(10_000))
    return InMemoryStore(now=lambda: "2026-01-01T00:00:00Z", new_uid=lambda: f"uid-{next(numbers)}")


@pytest.fixture
async def store_address(store: InMemoryStore, tmp_path: Path) -> AsyncIterator[str]:
    async with serve_store(store, tmp_path / "store.sock"):
        yield f"unix://{tmp_path / 'store.sock'}"


@pytest.fixture(params=["http2", "grpcio"])
async def picker(
    request: pytest.FixtureRequest, store: InMemoryStore, store_address: str, tmp_path: Path
) -> AsyncIterator[PickerProcess]:
    await publish(store, gateway_class(), gateway(), *service("a", [ONE, TWO], model="m"))
    async with picker_process(store_address, tmp_path, "--transport", request.param) as picker:
        yield picker


@pytest.fixture
async def client(picker: PickerProcess) -> AsyncIterator[Client]:
    async with client_of(picker.address) as client:
        yield client


async def publish(store: InMemoryStore, *objects: Object) -> None:
    for obj in objects:
        await store.apply(obj, owner="test")
        if obj.KIND == "Pod":
            await store.write_status(obj)


async def reservations_are(picker: PickerProcess, count: int) -> None:
    async def are() -> bool:
        return await picker.metric("argosy_reservations", pool=POOL) == count

    await until(are)


async def test_a_request_is_steered_and_its_reservation_lasts_as_long_as_its_stream(
    picker: PickerProcess, client: Client
) -> None:
    stream = client.stream()
    reply = await stream.ask(CHAT)
    assert sorted(destination(reply).split(",")) == [f"{ONE}:8000", f"{TWO}:8000"]
    assert reply.request_body.response.clear_route_cache
    assert await picker.metric("argosy_reservations", pool=POOL) == 1
    assert await picker.metric("argosy_ext_proc_streams") == 1
    served = await stream.response(destination(reply).split(",")[0])
    assert served.WhichOneof("response") == "response_headers"
    assert await stream.end() is grpc.StatusCode.OK
    await reservations_are(picker, 0)
    assert await picker.metric("argosy_picks_total", pool=POOL) == 1
    assert await picker.metric("argosy_served_not_picked_total", pool=POOL) == 0


async def test_however_a_stream_ends_its_reservation_is_released_once(picker: PickerProcess, client: Client) -> None:
    cancelled, closed, broken = client.stream(), client.stream(), client.stream()
    for stream in (cancelled, closed, broken):
        await stream.ask(CHAT)
    async with client_of(picker.address) as other:
        cut = other.stream()
        await cut.ask(CHAT)
        await reservations_are(picker, 4)
    await reservations_are(picker, 3)  # the connection of `cut` is gone
    cancelled.call.cancel()
    await reservations_are(picker, 2)
    await closed.end()
    await reservations_are(picker, 1)
    with pytest.raises(grpc.aio.AioRpcError, match="no place in a stream that is picked"):
        await broken.body(CHAT)  # a second one
    await reservations_are(picker, 0)
    assert await picker.metric("argosy_ext_proc_streams") == 0


async def test_bodies_and_models_that_are_wrong_are_answered_at_once(picker: PickerProcess, client: Client) -> None:
    for body, status in [
        (b"", 400),
        (b"{", 400),
        (b'{"model":"m","model":"m"}', 400),
        (b'{"model":"\xff"}', 400),
        (b'{"model":"other"}', 404),
        (b" " * (MAX_BODY_BYTES + 1), 413),
    ]:
        reply = await client.stream().ask(body)
        assert reply.immediate_response.status.code == status, body[:40]
        assert "error" in json.loads(reply.immediate_response.body)
    announced = await client.stream().headers(content_length=str(MAX_BODY_BYTES + 1))
    assert announced.immediate_response.status.code == 413
    assert await picker.metric("argosy_refused_total") == 7
    assert await picker.metric("argosy_reservations") == 0


@pytest.mark.parametrize(
    "hint", [f"{TWO}:8000", f"10.0.0.1:1, {TWO}:8000", [f"{TWO}:8000"], ["10.0.0.1:1", f"{TWO}:8000"], [TWO]]
)
async def test_a_subset_hint_is_kept_to_as_a_string_and_as_a_list(client: Client, hint: str | list[str]) -> None:
    for _ in range(3):
        stream = client.stream()
        await stream.headers(hint=hint)
        assert destination(await stream.body(CHAT)) == f"{TWO}:8000"


@pytest.mark.parametrize("hint", ["", [], "10.0.0.1:1", [f"{ONE}:1"]])
async def test_a_subset_that_leaves_nobody_is_503_with_the_reason(client: Client, hint: str | list[str]) -> None:
    stream = client.stream()
    await stream.headers(hint=hint)
    answer = (await stream.body(CHAT)).immediate_response
    assert answer.status.code == 503
    headers = {each.header.key: each.header.raw_value for each in answer.headers.set_headers}
    assert headers["x-llm-d-request-dropped-reason"] == b"rejected-no-endpoints"


async def test_who_serves_is_believed_from_metadata_too(picker: PickerProcess, client: Client) -> None:
    stream = client.stream()
    picked, fallback = destination(await stream.ask(CHAT)).split(",")
    await stream.feedback(fallback)
    await until(lambda: counted(picker, "argosy_fallback_served_total", 1))
    stream = client.stream()
    await stream.ask(CHAT)
    await stream.feedback("10.0.0.1:1")
    await until(lambda: counted(picker, "argosy_served_not_picked_total", 1))
    assert picked != fallback


async def counted(picker: PickerProcess, name: str, count: int) -> bool:
    return await picker.metric(name, pool=POOL) == count


async def test_a_request_without_a_body_is_steered_at_its_headers(store: InMemoryStore, client: Client) -> None:
    for_any = route("any", "unused", pool="a")
    rule = replace(for_any.spec.rules[0], matches=(RouteMatch(path=PathMatch(value="/any")),))
    await publish(store, replace(for_any, spec=replace(for_any.spec, rules=(rule,))))

    async def is_steered() -> bool:
        reply = await client.stream().headers(p_method="GET", p_path="/any", end_of_stream=True)
        return bool(reply.HasField("request_headers")) and destination(reply).startswith((ONE, TWO))

    await until(is_steered)


async def test_the_models_are_listed(client: Client) -> None:
    reply = await client.stream().headers(p_method="GET", p_path="/v1/models", end_of_stream=True)
    assert reply.immediate_response.status.code == 200
    assert [m["id"] for m in json.loads(reply.immediate_response.body)["data"]] == ["m"]


async def test_changes_of_the_cluster_are_followed(store: InMemoryStore, picker: PickerProcess, client: Client) -> None:
    await publish(store, *service("b", ["127.1.0.9"], model="n"))

    async def is_served() -> bool:
        reply = await client.stream().ask(b'{"model": "n"}')
        return bool(reply.HasField("request_body")) and destination(reply) == "127.1.0.9:8000"

    await until(is_served)
    assert await picker.metric("argosy_picks_total", pool="default/b") == 1


async def test_health_is_answered_for_every_name_that_is_asked_for(client: Client) -> None:
    for name in PICKER_NAMES:
        assert await client.health(name) == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.health("other")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_frequent_pings_with_streams_open_are_tolerated(picker: PickerProcess) -> None:
    pings = (
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_timeout_ms", 1000),
        ("grpc.http2.max_pings_without_data", 0),
    )
    async with client_of(picker.address, *pings, ("grpc.keepalive_permit_without_calls", 1)) as client:
        stream = client.stream()
        await stream.ask(CHAT)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await stream.call.read()  # nothing comes, for five pings
    await reservations_are(picker, 0)


async def test_it_is_ready_once_the_store_has_been_read(store: InMemoryStore, tmp_path: Path) -> None:
    await publish(store, gateway_class(), gateway(), *service("a", [ONE], model="m"))
    async with picker_process(f"unix://{tmp_path / 'store.sock'}", tmp_path, wait=False) as picker:

        async def lives() -> bool:
            return await picker.get("/healthz") == 200

        await until(lives)
        assert await picker.get("/readyz") == 503
        async with serve_store(store, tmp_path / "store.sock"):
            await picker.ready()
            async with client_of(picker.address) as client:
                assert destination(await client.stream().ask(CHAT)) == f"{ONE}:8000"


async def test_it_goes_on_while_the_store_is_away(store: InMemoryStore, tmp_path: Path) -> None:
    await publish(store, gateway_class(), gateway(), *service("a", [ONE], model="m"))
    async with contextlib.AsyncExitStack() as stack:
        async with serve_store(store, tmp_path / "store.sock"):
            picker = await stack.enter_async_context(picker_process(f"unix://{tmp_path / 'store.sock'}", tmp_path))
        async with client_of(picker.address) as client:
            assert destination(await client.stream().ask(CHAT)) == f"{ONE}:8000"


async def test_told_to_end_it_lets_decided_requests_go_and_decides_those_that_wait(
    picker: PickerProcess, client: Client
) -> None:
    decided, waiting = client.stream(), client.stream()
    await decided.ask(CHAT)
    await waiting.headers()
    assert picker.process is not None
    picker.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(5):
        assert await decided.call.read() is grpc.aio.EOF
        assert await decided.call.code() is grpc.StatusCode.OK
        assert destination(await waiting.body(CHAT))
        assert await waiting.call.code() is grpc.StatusCode.OK
        assert await picker.process.wait() == 0


async def test_told_to_end_before_the_store_is_there_it_ends(tmp_path: Path) -> None:
    async with picker_process(f"unix://{tmp_path / 'none.sock'}", tmp_path, wait=False) as picker:

        async def lives() -> bool:
            return await picker.get("/healthz") == 200

        await until(lives)
        async with asyncio.timeout(5):
            assert await picker.end() == 0


async def test_a_port_in_use_is_said_to_be_in_use(picker: PickerProcess, store_address: str, tmp_path: Path) -> None:
    address = picker.address.partition(":")[0]
    async with picker_process(store_address, tmp_path, address=address, wait=False) as second:
        assert second.process is not None
        async with asyncio.timeout(20):
            assert await second.process.wait() == 2
        assert f"cannot serve metrics at {second.metrics_address}" in second.log.read_text()
    assert await picker.get("/readyz") == 200
