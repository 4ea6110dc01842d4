"""One request and its answer on the way to the client.

Rules of this file:
- Status and headers leave with the first token: until then a gateway can send the request elsewhere.
- A client that takes nothing for `write_timeout_s` is cut off.
- An answer that cannot be finished ends with a reset, never with a proper end; what came before an error of llama.cpp
  is sent first.
"""

import asyncio
import logging
from typing import Final

from aiohttp import web

from argosy.api.names import MOVED_HEADER
from argosy.api.openai import SERVER_ERROR
from argosy.apps.engine.answer import Answer, is_error
from argosy.apps.engine.channel import Channel
from argosy.apps.engine.replies import error_reply, json_reply, relayed_error, unavailable
from argosy.apps.engine.request import Request

_STREAM_HEADERS: Final = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
_log = logging.getLogger(__name__)


class Exchange:
    """Between the generating thread, which fills `channel`, and the client of `http`."""

    def __init__(self, http: web.Request, request: Request, *, write_timeout_s: float) -> None:
        self._http = http
        self._request = request
        self._write_timeout_s = write_timeout_s
        self._answer = Answer(request)
        self.channel = Channel(asyncio.get_running_loop())
        self.refused = False
        """llama.cpp did not begin; the request counts nowhere."""
        self.finished: Answer | None = None
        """The answer, once the client has all of it."""

    async def respond(self) -> web.StreamResponse:
        """Wait for the first token, and send the answer as the client asked for it."""
        chunks = await self.channel.take()
        refusal = self._refusal(chunks)
        if refusal is not None:
            self.refused = True
            return refusal
        return await (self._stream(chunks) if self._request.streams else self._whole(chunks))

    def _refusal(self, chunks: list[bytes]) -> web.Response | None:
        if self.channel.refusal is not None and not chunks:
            return error_reply(400, self.channel.refusal)
        if not chunks:
            return unavailable("This engine ends; send the request to another.")
        return relayed_error(chunks[0]) if is_error(chunks[0]) else None

    async def _whole(self, chunks: list[bytes]) -> web.Response:
        while chunks:
            for chunk in chunks:
                if is_error(chunk):
                    return relayed_error(chunk)
                self._answer.feed(chunk)
            chunks = await self.channel.take()
        if self.channel.cancelled:
            return unavailable("This engine ended before the answer did; send the request to another.")
        if self.channel.refusal is not None:
            return error_reply(500, self.channel.refusal, kind=SERVER_ERROR)
        self.finished = self._answer
        reply = json_reply(200, self._answer.end(self.channel.kv_transfer))
        reply.headers.update(self._moved())
        return reply

    async def _stream(self, chunks: list[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(headers=_STREAM_HEADERS | self._moved())
        await response.prepare(self._http)
        broken = None
        try:
            while chunks and broken is None:
                broken = next(filter(is_error, chunks), None)
                sound = chunks[: chunks.index(broken)] if broken is not None else chunks
                await self._write(response, b"".join(map(self._answer.feed, sound)))
                chunks = [] if broken is not None else await self.channel.take()
            broken = broken or (self.channel.refusal or "").encode()
            if not broken and not self.channel.cancelled:
                await self._write(response, self._answer.end())
                self.finished = self._answer
        except TimeoutError:
            self.channel.cancel()
        if broken:
            self._break_off(broken)
        elif self.finished is None and self._http.transport is not None:
            self._http.transport.abort()
        return response

    def _moved(self) -> dict[str, str]:
        """Say what became of the state that was to come from another engine."""
        if self._request.kv_source is None:
            return {}
        channel = self.channel
        return {MOVED_HEADER: channel.not_moved or str(min(channel.moved_tokens, channel.cached_tokens))}

    def _break_off(self, reason: bytes) -> None:
        """End in the middle of the answer, once what was written has left or the client has had its time."""
        _log.error("llama.cpp gave up an answer: %s", reason.decode(errors="replace")[:500])
        self.channel.cancel()
        transport = self._http.transport
        if transport is not None:
            transport.close()
            asyncio.get_running_loop().call_later(self._write_timeout_s, transport.abort)

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(self._write_timeout_s):
            await response.write(data)
