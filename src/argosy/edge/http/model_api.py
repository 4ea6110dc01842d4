"""The OpenAI API of a gateway, as a client: asked at its own address, or through somebody who passes requests on."""

from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Final, Protocol, Self

import aiohttp

from argosy.base.errors import CallerError, PeerError

CONNECT_S: Final = 5.0
READ_BYTES: Final = 1 << 20


class ApiAnswer(PeerError):  # noqa: N818 (named for the state)
    """The gateway answered with another status than 200; `text` is what it said."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"the gateway answered {status}: {text}")
        self.status = status
        self.text = text


class ModelApi(Protocol):
    """A way to the API. `way` says which, for people."""

    way: str

    def pieces(self, method: str, path: str, body: bytes | None = None) -> AsyncGenerator[bytes, None]:
        """Give the bytes of the answer to `/v1` + path as they come. Raises `ApiAnswer`, and `PeerError`."""


class DirectApi:
    """Asks at a base URL that ends in /v1. Use it as a context."""

    def __init__(self, url: str, *, connect_s: float = CONNECT_S) -> None:
        self.way = url
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=self._timeout, read_bufsize=READ_BYTES)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def pieces(self, method: str, path: str, body: bytes | None = None) -> AsyncGenerator[bytes, None]:
        """Give the bytes of the answer as they come. Raises `ApiAnswer`, and `PeerError`."""
        if self._session is None:
            raise CallerError("the API is asked outside its context")
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            async with self._session.request(method, f"{self._url}{path}", data=body, headers=headers) as response:
                if response.status != 200:
                    raise ApiAnswer(response.status, await response.text(errors="replace"))
                async for piece in response.content.iter_any():
                    yield piece
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise PeerError(f"{self._url} does not answer: {error or type(error).__name__}") from error
