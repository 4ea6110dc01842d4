"""Sends prefill requests to workers: one POST per leg, over connections that are kept.

Rules of this file:

- A leg ends in time, with an answer or with why there is none; nothing of a worker's raises.
- A worker that is gone is noticed at once: it refuses, or does not take the connection in time, or does not acknowledge
  what is sent on one that stands (TCP keepalive), however long the leg itself may take.
- A caller that is cancelled has its connection closed, by which the worker knows that nobody waits.
- A kept connection may be closed by the worker just when a leg begins. Such a leg is sent once more, over a new one: a
  prefill may be repeated.
- An answer is taken as it comes: no redirect is followed, no cookie kept, nothing decompressed, no proxy asked.
"""

import asyncio
import contextlib
import io
import socket
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Final, Literal, TypeAlias

import aiohttp
import msgspec

from argosy.base.endpoint import Endpoint

PrefillFault: TypeAlias = Literal["refused", "timeout", "broken", "too_large"]
"""No connection came about; no answer in time; the connection broke, or what came is no answer; it is too large."""

_OURS: Final = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "proxy-connection"}
    | {"te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers that belong to the connection and to the body as it is sent, not to the request that the client made."""
_AT_ONCE_BYTES: Final = 1024 * 1024
"""A larger body is written in parts, which aiohttp asks for."""
_SILENT_S: Final = 2
_PROBE_S: Final = 1
_PROBES: Final = 3


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What legs may take.

    `per_endpoint` connections are open to a worker at most; further legs wait for one, within their own time.
    `idle_s` is less than what uvicorn, and so vLLM, keeps idle connections for (5 s).
    """

    per_endpoint: int = 256
    idle_s: float = 4.0
    connect_s: float = 1.0
    answer_bytes: int = 1024 * 1024


DEFAULT: Final = Bounds()


class PrefillAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the worker answered, whatever its status."""

    status: int
    body: bytes
    took_s: float


class PrefillFailed(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no answer; `sentence` is for a person."""

    why: PrefillFault
    sentence: str


class PrefillClient:
    """Sends legs. `prefill_client` makes one."""

    def __init__(self, kept: aiohttp.ClientSession, fresh: aiohttp.ClientSession, bounds: Bounds) -> None:
        self._kept = kept
        self._fresh = fresh
        self._bounds = bounds

    async def post(
        self, endpoint: Endpoint, path: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float
    ) -> PrefillAnswer | PrefillFailed:
        """Send one leg and give what came of it, within `timeout_s`.

        `path` may have a query. Of `headers`, by lower-case name, those of the connection and of the body's length are
        left out.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        passed = {name: value for name, value in headers.items() if name not in _OURS and name[:1] != ":"}
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._sent(f"http://{endpoint}{path}", passed, body)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return PrefillFailed(why="refused", sentence=f"{endpoint} takes no connection: {error}")
        except TimeoutError:
            return PrefillFailed(why="timeout", sentence=f"{endpoint} gave no answer within {timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return PrefillFailed(why="broken", sentence=f"{endpoint} broke off: {error or type(error).__name__}")
        if answer is None:
            sentence = f"{endpoint} answers with more than {self._bounds.answer_bytes} bytes"
            return PrefillFailed(why="too_large", sentence=sentence)
        status, content = answer
        return PrefillAnswer(status=status, body=content, took_s=loop.time() - began_s)

    async def _sent(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes] | None:
        """Give status and body, None for one that is too large."""
        sending = SimpleNamespace(is_reused=False)
        try:
            response = await self._begun(self._kept, url, headers, body, sending)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not sending.is_reused or self._fresh.closed:
                raise
            response = await self._begun(self._fresh, url, headers, body, sending)
        async with response:
            return await self._read(response)

    async def _begun(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: dict[str, str],
        body: bytes,
        sending: SimpleNamespace,
    ) -> aiohttp.ClientResponse:
        """Send the request; give the answer once its head has come."""
        data = body if len(body) <= _AT_ONCE_BYTES else io.BytesIO(body)
        return await session.post(url, data=data, headers=headers, allow_redirects=False, trace_request_ctx=sending)

    async def _read(self, response: aiohttp.ClientResponse) -> tuple[int, bytes] | None:
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > self._bounds.answer_bytes:
                response.close()
                return None
        return response.status, bytes(content)


@contextlib.asynccontextmanager
async def prefill_client(bounds: Bounds = DEFAULT) -> AsyncIterator[PrefillClient]:
    """Give a client; its connections are closed when the context ends."""
    kept = aiohttp.TCPConnector(
        limit=0, limit_per_host=bounds.per_endpoint, keepalive_timeout=bounds.idle_s, socket_factory=_watched_socket
    )
    fresh = aiohttp.TCPConnector(
        limit=0, limit_per_host=bounds.per_endpoint, force_close=True, socket_factory=_watched_socket
    )
    async with _session(kept, bounds) as of_kept, _session(fresh, bounds) as of_fresh:
        yield PrefillClient(of_kept, of_fresh, bounds)


def _session(connector: aiohttp.TCPConnector, bounds: Bounds) -> aiohttp.ClientSession:
    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(_note_reuse)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"accept-encoding": "identity"},
        skip_auto_headers=("user-agent", "accept", "content-type"),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=bounds.connect_s),
        trace_configs=[tracing],
    )


async def _note_reuse(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _connection: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.is_reused = True


def _watched_socket(address: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
    """Make a socket that breaks when its peer acknowledges nothing for about 5 s, also while nothing is said."""
    family, kind, protocol, _, _ = address
    watched = socket.socket(family, kind, protocol)
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENT_S),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_S),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * (_SILENT_S + _PROBE_S * _PROBES)),
    ):
        watched.setsockopt(level, option, value)
    return watched
