"""What Envoy makes of a picker's answers: a scripted picker, real Envoy, real backends."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from harness.dataplane import Backend, DataPlane, data_plane
from harness.scripted_picker import ScriptedPicker, scripted_picker
from harness.waiting import until

CHAT = "/v1/chat/completions"
POOL = Key("default", "alpha")


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    async with data_plane(tmp_path) as plane:
        yield plane


@pytest.fixture
async def backends(plane: DataPlane) -> list[Backend]:
    await plane.publish_model("alpha")
    return [await plane.add_backend("alpha") for _ in range(3)]


@pytest.fixture
async def picker(plane: DataPlane, backends: list[Backend]) -> AsyncIterator[ScriptedPicker]:
    async with scripted_picker(Endpoint(plane.address(), 9002)) as picker:
        await plane.add_picker(picker.endpoint)
        await plane.programmed()
        picker.pool = POOL
        picker.picks = [backend.endpoint for backend in backends]
        yield picker


async def _ask(plane: DataPlane, model: str = "alpha", **headers: str) -> tuple[int, str | None]:
    async with plane.client() as client, client.post(CHAT, json={"model": model}, headers=headers) as answer:
        await answer.read()
        return answer.status, answer.headers.get("x-served-by")


async def _reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _fail_open(plane: DataPlane) -> int:
    return await plane.stat("http.gateway.ext_proc.failure_mode_allowed")


async def test_the_pick_is_honoured(plane: DataPlane, backends: list[Backend], picker: ScriptedPicker) -> None:
    for backend in (backends[2], backends[0], backends[1], backends[1]):
        picker.picks = [backend.endpoint]
        assert await _ask(plane) == (200, str(backend.endpoint))
        assert picker.served[-1] == str(backend.endpoint)
    assert await _fail_open(plane) == 0


async def test_the_named_pool_is_followed_whatever_the_body_says(
    plane: DataPlane, backends: list[Backend], picker: ScriptedPicker
) -> None:
    picker.picks = [backends[1].endpoint]
    assert await _ask(plane, "unknown") == (200, str(backends[1].endpoint))


async def test_a_request_without_a_body_can_be_picked(
    plane: DataPlane, backends: list[Backend], picker: ScriptedPicker
) -> None:
    picker.picks = [backends[2].endpoint]
    async with plane.client() as client, client.get("/v1/anything") as answer:
        assert answer.headers["x-served-by"] == str(backends[2].endpoint)


async def test_a_refusal_of_the_picker_arrives_as_it_is(plane: DataPlane, picker: ScriptedPicker) -> None:
    for status in (400, 404, 429, 503):
        picker.refusal = (status, b'{"error": {"message": "its own words"}}')
        async with plane.client() as client, client.post(CHAT, json={"model": "alpha"}) as answer:
            assert (answer.status, await answer.read()) == picker.refusal


async def test_the_picker_does_not_see_steering_headers_of_clients(plane: DataPlane, picker: ScriptedPicker) -> None:
    assert (await _ask(plane, **{"X-Gateway-Model-Name": "beta", "x-gateway-destination-endpoint": "127.0.0.1:1"}))[0]
    assert not {"x-gateway-model-name", "x-gateway-destination-endpoint", "x-argosy-pool"} & picker.headers[0].keys()


async def test_the_list_is_walked_in_order_when_endpoints_refuse(
    plane: DataPlane, backends: list[Backend], picker: ScriptedPicker
) -> None:
    await backends[0].stop()
    await backends[1].stop()
    for _ in range(5):
        assert await _ask(plane) == (200, str(backends[2].endpoint))
        assert picker.served[-1] == str(backends[2].endpoint)


async def test_the_list_is_walked_in_order_when_endpoints_reset_before_their_headers(
    plane: DataPlane, backends: list[Backend], picker: ScriptedPicker
) -> None:
    backends[0].behave = backends[1].behave = _reset
    for _ in range(5):
        assert await _ask(plane) == (200, str(backends[2].endpoint))
    assert [len(backend.requests) for backend in backends] == [5, 5, 5]
    assert picker.served == [str(backends[2].endpoint)] * 5  # served, not picked


async def test_a_destination_outside_the_pool_is_served_by_the_pool_and_seen(
    plane: DataPlane, backends: list[Backend], picker: ScriptedPicker
) -> None:
    stranger = Endpoint(plane.address(), 8000)
    picker.picks = [stranger]
    status, served_by = await _ask(plane)
    assert status == 200
    assert served_by in {str(backend.endpoint) for backend in backends}
    assert picker.served == [served_by] != [str(stranger)]


async def test_answers_are_not_retried_once_their_headers_have_left(
    plane: DataPlane, backends: list[Backend], picker: ScriptedPicker
) -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        await until(lambda: picker.served)
        assert request.transport is not None
        request.transport.abort()
        return response

    backends[0].behave = break_off
    with pytest.raises(aiohttp.ClientPayloadError):
        await _ask(plane)
    assert backends[1].requests == backends[2].requests == []


async def test_a_picker_that_is_away_is_done_without_and_counted(plane: DataPlane, backends: list[Backend]) -> None:
    async with scripted_picker(Endpoint(plane.address(), 9002)) as picker:
        await plane.add_picker(picker.endpoint)
        await plane.programmed()
        picker.pool, picker.picks = POOL, [backends[0].endpoint]
        assert await _ask(plane) == (200, str(backends[0].endpoint))
    assert await _fail_open(plane) == 0
    assert (await _ask(plane))[0] == 200
    assert (await _ask(plane, "unknown"))[0] == 503
    assert await _fail_open(plane) == 2
    async with scripted_picker(picker.endpoint) as again:
        again.pool, again.picks = POOL, [backends[0].endpoint]

        async def is_picked() -> bool:
            await _ask(plane)
            return again.streams > 0

        await until(is_picked)


async def test_a_second_picker_stands_by(plane: DataPlane, backends: list[Backend]) -> None:
    async with scripted_picker(Endpoint(plane.address(), 9002)) as second:
        async with scripted_picker(Endpoint(plane.address(), 9002)) as first:
            for number, picker in enumerate((first, second)):
                await plane.add_picker(picker.endpoint, name=f"argosy-picker-{number}")
                picker.pool, picker.picks = POOL, [backends[number].endpoint]
            await plane.programmed()
            for _ in range(10):
                assert await _ask(plane) == (200, str(backends[0].endpoint))
            assert (first.streams, second.streams) == (10, 0)
        for _ in range(10):
            assert await _ask(plane) == (200, str(backends[1].endpoint))
        assert await _fail_open(plane) == 0


async def test_a_stream_to_the_picker_ends_with_the_answer(
    plane: DataPlane, backends: list[Backend], picker: ScriptedPicker
) -> None:
    async def hold(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await until(lambda: picker.open == 1 and picker.served)
        return response

    backends[0].behave = hold
    assert (await _ask(plane))[0] == 200
    await until(lambda: picker.open == 0, within_s=1)
