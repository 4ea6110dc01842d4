"""The picker's process behind an Envoy that sends it bodies in chunks, as gateways of other makers do."""

import asyncio
import contextlib
import io
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from argosy.api.names import MAX_BODY_BYTES
from argosy.base.endpoint import Endpoint
from harness.dataplane import Backend, DataPlane, starting_data_plane
from harness.foreign_gateway import FULL_DUPLEX, ForeignGateway, foreign_gateway
from harness.picker_process import PickerProcess, picker_process
from harness.waiting import until

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
MEGABYTE = b'{"model": "m", "prompt": "' + random.Random(1).randbytes(500_000).hex().encode() + b'"}'


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    async with starting_data_plane(tmp_path) as plane:
        yield plane


@pytest.fixture
async def backends(plane: DataPlane) -> list[Backend]:
    await plane.publish_model("m")
    return [await plane.add_backend("m") for _ in range(2)]


@pytest.fixture(params=["http2", "grpcio"])
async def picker(
    request: pytest.FixtureRequest, plane: DataPlane, backends: list[Backend], tmp_path: Path
) -> AsyncIterator[PickerProcess]:
    options = ("--transport", request.param)
    async with picker_process(plane.store_address, tmp_path, *options, address=plane.address()) as picker:
        await plane.add_picker(Endpoint.parse(picker.address))
        await plane.programmed()
        assert backends
        yield picker


@pytest.fixture
def window() -> int:
    return 65_536


@pytest.fixture
def modes() -> dict[str, str]:
    return {}


@pytest.fixture
async def gateway(
    plane: DataPlane,
    backends: list[Backend],
    picker: PickerProcess,
    tmp_path: Path,
    window: int,
    modes: dict[str, str],
) -> AsyncIterator[ForeignGateway]:
    pods = [backend.endpoint for backend in backends]
    at = Endpoint.parse(picker.address)
    async with foreign_gateway(tmp_path, at, pods, address=plane.address(), window=window, modes=modes) as gateway:
        yield gateway


async def chunked(body: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]
        await asyncio.sleep(0)


async def ask(client: aiohttp.ClientSession, body: Any) -> tuple[int, str, bytes]:
    async with client.post(CHAT, data=body, headers=JSON) as answer:
        return answer.status, answer.headers.get("x-served-by", ""), await answer.read()


async def is_idle(picker: PickerProcess) -> bool:
    return (await picker.metric("argosy_reservations"), await picker.metric("argosy_ext_proc_streams")) == (0, 0)


async def test_every_request_goes_where_it_was_picked_for(
    backends: list[Backend], picker: PickerProcess, gateway: ForeignGateway
) -> None:
    async with gateway.client() as client:
        answers = [await ask(client, b'{"model": "m"}') for _ in range(10)]
    assert Counter(by for _, by, _ in answers) == {str(backend.endpoint): 5 for backend in backends}
    for backend in backends:
        assert await picker.metric("argosy_picks_total", endpoint=str(backend.endpoint)) == 5
    await until(lambda: is_idle(picker))


@pytest.mark.parametrize("window", [65_536, 1024 * 1024])
async def test_large_bodies_pass_both_ways_as_they_are(
    backends: list[Backend], picker: PickerProcess, gateway: ForeignGateway
) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        return web.Response(body=body[::-1])

    for backend in backends:
        backend.behave = echo

    async def one(client: aiohttp.ClientSession, body: bytes) -> None:
        assert (await ask(client, body))[::2] == (200, body[::-1])
        assert (await ask(client, chunked(body)))[::2] == (200, body[::-1])

    async with gateway.client() as client, asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(one(client, MEGABYTE[:-2] + b'%d"}' % number))
    bodies = Counter(body[-4:-2] for each in backends for request, body in each.requests if request.path == CHAT)
    assert set(bodies.values()) == {2}
    assert await picker.metric("argosy_picks_total") == 24
    await until(lambda: is_idle(picker))


@pytest.mark.parametrize("modes", [{"response_body_mode": mode} for mode in (FULL_DUPLEX, "STREAMED", "NONE")])
async def test_an_answer_that_streams_passes_chunk_by_chunk(
    backends: list[Backend], picker: PickerProcess, gateway: ForeignGateway
) -> None:
    read = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number in range(5):
            await response.write(b"data: %d\n\n" % number)
            await read.wait()
            read.clear()
        return response

    for backend in backends:
        backend.behave = stream
    async with gateway.client() as client, client.post(CHAT, json={"model": "m", "stream": True}) as answer:
        for number in range(5):
            # The next one is not sent before this one has been read.
            assert await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 10) == b"data: %d\n\n" % number
            read.set()
        assert await answer.read() == b""
    await until(lambda: is_idle(picker))


@pytest.mark.parametrize("modes", [{"response_body_mode": "BUFFERED"}])
async def test_an_answer_that_the_gateway_buffers_passes_as_it_is(
    picker: PickerProcess, gateway: ForeignGateway
) -> None:
    async with gateway.client() as client:
        status, by, body = await ask(client, MEGABYTE)
    assert (status, b"served_by" in body, by != "") == (200, True, True)
    await until(lambda: is_idle(picker))


@pytest.mark.parametrize("body", [b"", b"hello", b'{"model":"m","model":"n"}', b'{"model":"nobody"}'])
async def test_it_decides_as_behind_a_gateway_that_buffers(
    plane: DataPlane, picker: PickerProcess, gateway: ForeignGateway, body: bytes
) -> None:
    async with gateway.client() as foreign, plane.client() as own:
        assert await ask(foreign, body) == await ask(own, body)
        assert await ask(foreign, chunked(body)) == await ask(own, chunked(body))
        assert (await ask(foreign, b'{"model": "m"}'))[0] == 200
    await until(lambda: is_idle(picker))


async def test_told_to_end_it_sees_answers_to_their_end(
    backends: list[Backend], picker: PickerProcess, gateway: ForeignGateway
) -> None:
    go_on = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await go_on.wait()
        await response.write(b"last")
        return response

    for backend in backends:
        backend.behave = stream
    async with gateway.client() as client, client.post(CHAT, json={"model": "m"}) as answer:
        assert await answer.content.readexactly(5) == b"first"
        assert picker.process is not None
        picker.process.send_signal(signal.SIGTERM)

        async def is_leaving() -> bool:
            return await picker.get("/readyz") == 503

        await until(is_leaving)
        go_on.set()
        assert await answer.read() == b"last"
    assert await asyncio.wait_for(picker.process.wait(), 20) == 0


async def test_models_are_listed(picker: PickerProcess, gateway: ForeignGateway) -> None:
    async with gateway.client() as client, client.get("/v1/models") as answer:
        assert [model["id"] for model in (await answer.json())["data"]] == ["m"]
    await until(lambda: is_idle(picker))


async def test_bodies_up_to_the_limit_pass_and_larger_ones_are_413(
    picker: PickerProcess, gateway: ForeignGateway
) -> None:
    largest = b'{"model": "m"' + b" " * (MAX_BODY_BYTES - 14) + b"}"
    async with gateway.client() as client:
        assert (await ask(client, chunked(largest, 500_000)))[0] == 200
        too_large = largest + b" "
        for body in (io.BytesIO(too_large), chunked(too_large, 500_000)):
            with contextlib.suppress(aiohttp.ClientConnectionError):  # it may still be writing
                assert (await ask(client, body))[0] == 413
        assert (await ask(client, b'{"model": "m"}'))[0] == 200
    assert await picker.metric("argosy_refused_total", reason="too_large") == 2
    await until(lambda: is_idle(picker))


async def test_a_client_that_goes_in_the_middle_of_its_body_leaves_nothing(
    picker: PickerProcess, gateway: ForeignGateway
) -> None:
    _, writer = await asyncio.open_connection(gateway.endpoint.address, gateway.endpoint.port)
    writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{".encode())

    async def streams_are(count: int) -> bool:
        return await picker.metric("argosy_ext_proc_streams") == count

    await until(lambda: streams_are(1))
    writer.close()
    await until(lambda: is_idle(picker))
    assert await picker.metric("argosy_picks_total") == 0


async def test_trailers_end_a_body_and_pass_both_ways(
    backends: list[Backend], picker: PickerProcess, gateway: ForeignGateway
) -> None:
    asked = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # a scrape
            asked.set_result(await reader.readuntil(b"x-sum: 1\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n")
            writer.write(b"2\r\n[]\r\n0\r\nx-end: yes\r\n\r\n")
        writer.close()

    servers = []
    for backend in backends:
        await backend.stop()
        servers.append(await asyncio.start_server(answer, backend.endpoint.address, backend.endpoint.port))
    reader, writer = await asyncio.open_connection(gateway.endpoint.address, gateway.endpoint.port)
    writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n".encode())
    writer.write(b'e\r\n{"model": "m"}\r\n0\r\nx-sum: 1\r\n\r\n')
    async with servers[0], servers[1], asyncio.timeout(20):
        received = await asked
        head = await reader.readuntil(b"\r\n\r\n")
        rest = await reader.readuntil(b"x-end: yes\r\n\r\n")
    assert b'{"model": "m"}' in received
    assert head.startswith(b"HTTP/1.1 200")
    assert rest.startswith(b"2\r\n[]\r\n")
    writer.close()
    await until(lambda: is_idle(picker))
    assert await picker.metric("argosy_picks_total") == 1
