"""What clients can make Envoy hold in memory, and for how long."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import web

from argosy.api.names import MAX_BODY_BYTES
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from harness.dataplane import DataPlane, data_plane
from harness.scripted_picker import scripted_picker
from harness.waiting import until

CHAT = "/v1/chat/completions"
TIMEOUT_S = 1.0
HEAP_BYTES = 128 * 1024 * 1024


@contextlib.asynccontextmanager
async def _begun(plane: DataPlane, sent: int, announced: int) -> AsyncIterator[asyncio.StreamReader]:
    """Begin a request whose body stops short of what it announces; gives what is answered."""
    reader, writer = await asyncio.open_connection(plane.bind_address, plane.port)
    try:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: argosy\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {announced}\r\n\r\n".encode())
        writer.write(b'{"model": "alpha", "x": "' + b"x" * (sent - 25))
        await writer.drain()
        yield reader
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_request_that_does_not_come_to_its_end_is_answered_408(tmp_path: Path) -> None:
    async with data_plane(tmp_path, request_timeout_s=TIMEOUT_S) as plane, _begun(plane, 1000, 2000) as answer:
        async with asyncio.timeout(10 * TIMEOUT_S):
            assert b" 408 " in await answer.readline()
            body = await answer.read()
        assert json.loads(body.partition(b"\r\n\r\n")[2])["error"]["code"] == "408"


async def test_answers_that_begin_or_end_later_than_a_request_may_take_to_arrive_are_not_cut(tmp_path: Path) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        for _ in range(2):
            later = asyncio.get_running_loop().time() + 2 * TIMEOUT_S
            await until(lambda later=later: asyncio.get_running_loop().time() > later)
            if not response.prepared:
                await response.prepare(request)
                await response.write(b"begun, ")
        await response.write(b"ended")
        return response

    async with data_plane(tmp_path, request_timeout_s=TIMEOUT_S) as plane:
        backend = await plane.add_backend("alpha")
        backend.behave = slow
        await plane.publish_model("alpha")
        async with scripted_picker(Endpoint(plane.address(), 9002)) as picker:
            for picked in (False, True):
                if picked:
                    await plane.add_picker(picker.endpoint)
                    picker.pool, picker.picks = Key("default", "alpha"), [backend.endpoint]
                await plane.programmed()
                response = web.StreamResponse()
                async with plane.client() as client, client.post(CHAT, json={"model": "alpha"}) as answer:
                    assert (answer.status, await answer.read()) == (200, b"begun, ended")
            assert picker.streams == 1


async def test_envoy_near_its_limit_refuses_new_requests_and_takes_them_again_when_there_is_room(
    tmp_path: Path,
) -> None:
    async with data_plane(tmp_path, max_heap_bytes=HEAP_BYTES) as plane, plane.client() as client:
        await plane.add_backend("alpha")
        await plane.publish_model("alpha")
        await plane.programmed()

        async def status() -> int:
            async with client.post(CHAT, json={"model": "alpha"}) as answer:
                await answer.read()
                return answer.status

        async def is_refused() -> bool:
            try:
                async with client.post(CHAT, json={"model": "alpha"}) as answer:
                    return (answer.status, await answer.read()) == (503, b"envoy overloaded")
            except aiohttp.ClientConnectionError:  # it closed the connection before all of the request had come
                return False

        async def is_served() -> bool:
            return await status() == 200

        assert await is_served()
        async with contextlib.AsyncExitStack() as stalled:
            for _ in range(HEAP_BYTES // MAX_BODY_BYTES):
                await stalled.enter_async_context(_begun(plane, MAX_BODY_BYTES - 1000, MAX_BODY_BYTES))
            await until(is_refused)
            assert await plane.stat("overload.envoy.overload_actions.stop_accepting_requests.active") == 1
        await until(is_served)
