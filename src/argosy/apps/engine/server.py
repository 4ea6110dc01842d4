"""vLLM's HTTP contract on a socket of our own.

Rules of this file:
- 503 means that nothing has been done for the request: loading, draining or full. It may be repeated anywhere.
- Whoever sends requests hears late that they are to go elsewhere, so a drain takes them for a while.
- A client that goes away gives its slot back.
"""

import asyncio
import contextlib
import enum
import math
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from argosy import __version__
from argosy.api.names import LEG_HEADER
from argosy.api.openai import MODELS_PATH, model_not_found
from argosy.apps.engine.exchange import Exchange
from argosy.apps.engine.metrics import CONTENT_TYPE, Metrics, Watch
from argosy.apps.engine.moving import Moving
from argosy.apps.engine.replies import error_reply, json_reply, openai_errors, unavailable
from argosy.apps.engine.request import Kind, Request, Unfit, body_limit, read_request
from argosy.apps.engine.slots import Slots
from argosy.engines.llama_cpp import (
    ACCEPT_S,
    HEALTH_PATH,
    MAX_REQUEST_BYTES,
    MAX_WAITING,
    METRICS_PATH,
    PING_PATH,
    Settings,
)

_OWNER: Final = "argosy"
_HELD: Final = "held"
"""Where a request notes how many bytes of it count."""
_QUIET_S: Final = 1.0
"""Where no request has come for so long, none is expected."""
_HELD_BYTES: Final = 16 * 1024 * 1024
"""Bodies of all requests that are here, together; more would leave the memory that planning reckons with."""


class State(enum.StrEnum):
    """What the server is doing; only when it is ready are requests welcome."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


class EngineServer:
    """The handlers, and the state that they share."""

    def __init__(self, settings: Settings, *, created_s: int, write_timeout_s: float) -> None:
        self._settings = settings
        self._created_s = created_s
        self._write_timeout_s = write_timeout_s
        self._state = State.LOADING
        self._takes = False
        self._came_s = -math.inf
        """When the latest request came, by the loop's clock."""
        self._slots: Slots | None = None
        self._moving: Moving | None = None
        self._exchanges: set[Exchange] = set()
        self._guests = 0
        self._held_bytes = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.metrics = self._metrics = Metrics(settings.model)
        self._metrics.show_cache(slots=settings.parallel, slot_tokens=settings.context_tokens)
        if settings.adapters:
            self._metrics.show_adapters(
                len(settings.adapters),
                running=lambda: self._slots.turns.running if self._slots else (),
                waiting=lambda: self._slots.turns.waiting if self._slots else (),
            )
        self._metrics.show_load(
            running=lambda: self._slots.running if self._slots else 0,
            waiting=lambda: self._slots.waiting if self._slots else 0,
        )

    def application(self) -> web.Application:
        """Give the routes."""
        app = web.Application(middlewares=[openai_errors], client_max_size=MAX_REQUEST_BYTES + 1)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_get(MODELS_PATH, self._models)
        app.router.add_get(HEALTH_PATH, self._health)
        app.router.add_get(PING_PATH, self._ping)
        app.router.add_get("/version", self._version)
        app.router.add_get(METRICS_PATH, self._exposition)
        return app

    def open_to(self, slots: Slots, start_s: Mapping[str, float], moving: Moving | None = None) -> None:
        """The model is loaded; `start_s` says how long each phase of that took."""
        self._metrics.show_start(start_s)
        self._moving = moving
        self._slots = slots
        self._state = State.READY
        self._takes = True

    async def drain(self, timeout_s: float, give_up: asyncio.Event) -> None:
        """Take what still comes for a while, then refuse it, let what runs finish and what waits be pulled.

        What is left after `timeout_s` more, or when told to give up, is cut off.
        """
        self._state = State.DRAINING
        await self._until_quiet(give_up)
        self._takes = False
        ends = [asyncio.ensure_future(wait) for wait in (self._until_done(), give_up.wait())]
        await asyncio.wait(ends, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        for exchange in self._exchanges:
            exchange.channel.cancel()

    async def _until_quiet(self, give_up: asyncio.Event) -> None:
        clock = asyncio.get_running_loop().time
        last_s = clock() + ACCEPT_S
        while not give_up.is_set() and (wait_s := min(last_s, self._came_s + _QUIET_S) - clock()) > 0.0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(give_up.wait(), wait_s)

    async def _until_done(self) -> None:
        await self._idle.wait()
        if self._moving is not None:
            await self._moving.held.until_empty()

    async def _health(self, _http: web.Request) -> web.Response:
        ready = self._state is State.READY
        return web.json_response({"status": self._state}, status=200 if ready else 503)

    async def _ping(self, _http: web.Request) -> web.Response:
        return web.Response()

    async def _version(self, _http: web.Request) -> web.Response:
        return web.json_response({"version": __version__})

    async def _exposition(self, _http: web.Request) -> web.Response:
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    async def _models(self, _http: web.Request) -> web.Response:
        common = {"object": "model", "created": self._created_s, "owned_by": _OWNER, "root": self._settings.model}
        common |= {"max_model_len": self._settings.context_tokens}
        adapters = {each.name for each in self._settings.adapters}
        parents = {name: self._settings.model if name in adapters else None for name in self._settings.names}
        data = [{"id": name} | common | {"parent": parent} for name, parent in parents.items()]
        return web.json_response({"object": "list", "data": data})

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        return await self._receive(http, "chat")

    async def _complete(self, http: web.Request) -> web.StreamResponse:
        return await self._receive(http, "completion")

    async def _receive(self, http: web.Request, kind: Kind) -> web.StreamResponse:
        self._came_s = asyncio.get_running_loop().time()
        if not self._takes or self._slots is None:
            return unavailable(f"This engine is {self._state}; send the request to another.")
        if self._guests >= self._settings.parallel + MAX_WAITING:
            return unavailable(f"{self._guests} requests are here already; send fewer at a time.")
        self._guests += 1
        self._idle.clear()
        try:
            return await self._generate(http, kind, self._slots)
        finally:
            self._guests -= 1
            if not self._guests:
                self._idle.set()

    async def _generate(self, http: web.Request, kind: Kind, slots: Slots) -> web.StreamResponse:
        watch = self._metrics.watch()
        http[_HELD] = 0
        try:
            request = await self._read(http, kind)
            return request if isinstance(request, web.Response) else await self._answer(http, request, slots, watch)
        finally:
            self._held_bytes -= http[_HELD]

    async def _answer(self, http: web.Request, request: Request, slots: Slots, watch: Watch) -> web.StreamResponse:
        exchange = Exchange(http, request, write_timeout_s=self._write_timeout_s)
        self._exchanges.add(exchange)
        try:
            await slots.start(request, exchange.channel, watch)
            return await exchange.respond()
        finally:
            self._exchanges.discard(exchange)
            exchange.channel.cancel()
            if exchange.finished is not None:
                watch.note_end()
            elif exchange.channel.kv_transfer is not None and self._moving is not None:
                self._moving.forget(exchange.channel.kv_transfer)
            if not exchange.refused:
                self._metrics.count_end(exchange.finished, exchange.channel.moved_tokens)

    async def _read(self, http: web.Request, kind: Kind) -> Request | web.Response:
        body = bytearray()
        try:
            async with asyncio.timeout(self._write_timeout_s):
                refusal = await self._fill(http, body)
        except TimeoutError:
            return error_reply(408, f"The body did not come within {self._write_timeout_s:g} s.")
        if refusal is not None:
            return refusal
        request = read_request(body, kind=kind, settings=self._settings, is_leg=LEG_HEADER in http.headers)
        if not isinstance(request, Unfit):
            return request
        if request.model is None:
            return error_reply(400, request.why)
        return json_reply(404, model_not_found(request.model, self._settings.names))

    async def _fill(self, http: web.Request, body: bytearray) -> web.Response | None:
        """Take the body as it comes; what is too large is read to its end, but not held."""
        limit, size = body_limit(self._settings.context_tokens), http.content_length or 0
        if size > MAX_REQUEST_BYTES:
            raise web.HTTPRequestEntityTooLarge(MAX_REQUEST_BYTES, size)
        size = 0
        async for piece in http.content.iter_any():
            size += len(piece)
            if size > MAX_REQUEST_BYTES:
                raise web.HTTPRequestEntityTooLarge(MAX_REQUEST_BYTES, size)
            if size <= limit:
                if self._held_bytes + len(piece) > _HELD_BYTES:
                    return unavailable("The requests that are here hold too much already; send this one later.")
                self._held_bytes += len(piece)
                http[_HELD] += len(piece)
                body += piece
        if size <= limit:
            return None
        tokens = self._settings.context_tokens
        return error_reply(400, f"The body has {size} bytes; with {tokens} tokens of context {limit} are enough.")
