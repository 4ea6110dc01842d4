"""What a client sees of an answer that llama.cpp gives up, and of llama.cpp when it does not end."""

import asyncio
import json
import threading
from collections.abc import Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from argosy.apps.engine.channel import Channel
from argosy.apps.engine.exchange import Exchange
from argosy.apps.engine.metrics import Metrics
from argosy.apps.engine.model import RefusedError
from argosy.apps.engine.request import Request
from argosy.apps.engine.slots import Slots

TOKEN = b'{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hi"}}],"created":1,"id":"c","model":"m"}'
ERROR = b'{"error":{"code":500,"message":"it broke","type":"server_error"}}'


class _Script:
    """A model that gives one token, and then an error, either way."""

    def __init__(self, *, raises: bool) -> None:
        self._raises = raises

    def generate(self, _request: Request, give: Callable[[bytes], bool], *, slot: int, reuses: bool) -> None:
        assert (slot, reuses) == (0, True)
        give(TOKEN)
        if self._raises:
            raise RefusedError("it broke")
        give(ERROR)

    def close(self) -> None:
        pass


def _request(*, streams: bool) -> Request:
    return Request(kind="chat", payload=b"", streams=streams, include_usage=False)


async def _served(model: _Script, *, streams: bool) -> tuple[int, bytes, Exchange]:
    """Status, body up to the end or the break, and the exchange."""
    slots, seen = Slots(model, 1), []  # type: ignore[arg-type]

    async def handle(http: web.Request) -> web.StreamResponse:
        exchange = Exchange(http, _request(streams=streams), write_timeout_s=5)
        seen.append(exchange)
        await slots.start(_request(streams=streams), exchange.channel, Metrics("m").watch())
        return await exchange.respond()

    app = web.Application()
    app.router.add_get("/", handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as client, client.get(server.make_url("/")) as answer:
        got = b""
        try:
            async for piece in answer.content.iter_any():
                got += piece
        except aiohttp.ClientPayloadError:
            got += b"BROKEN OFF"
    assert slots.close(5)
    return answer.status, got, seen[0]


@pytest.mark.parametrize("raises", [True, False])
async def test_a_stream_that_breaks_has_sent_what_came_before_and_no_proper_end(*, raises: bool) -> None:
    status, got, exchange = await _served(_Script(raises=raises), streams=True)
    assert (status, got) == (200, b"data: " + TOKEN + b"\n\nBROKEN OFF")
    assert exchange.finished is None
    assert exchange.channel.cancelled


@pytest.mark.parametrize("raises", [True, False])
async def test_a_whole_answer_that_breaks_is_an_error(*, raises: bool) -> None:
    status, got, exchange = await _served(_Script(raises=raises), streams=False)
    assert (status, json.loads(got)["error"]["message"]) == (500, "it broke")
    assert exchange.finished is None


async def test_closing_does_not_wait_for_ever_for_a_model_that_does_not_come_back() -> None:
    begun, end = threading.Event(), threading.Event()

    class Stuck(_Script):
        def generate(self, _request: Request, _give: Callable[[bytes], bool], **_where: object) -> None:
            begun.set()
            end.wait()

    slots = Slots(Stuck(raises=False), 1)  # type: ignore[arg-type]
    await slots.start(_request(streams=True), Channel(asyncio.get_running_loop()), Metrics("m").watch())
    assert await asyncio.to_thread(begun.wait, 5)
    assert not await asyncio.to_thread(slots.close, 0.1)
    end.set()
    assert await asyncio.to_thread(slots.close, 5)
