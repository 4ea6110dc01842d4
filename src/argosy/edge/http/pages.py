"""Pages that pods serve over HTTP, read whole: metrics.

Who stands on the pods' network asks the pod itself; who stands outside asks the API server to (`edge/kube/pod_proxy`).
"""

from types import TracebackType
from typing import Final, Protocol, Self

import aiohttp

from argosy.api.kubernetes import Pod
from argosy.base.errors import CallerError, PeerError

TIMEOUT_S: Final = 2.0
MAX_PAGE_BYTES: Final = 4 << 20


class NoPage(PeerError):  # noqa: N818 (named for the state)
    """The pod answers, and has no such page."""


class Pages(Protocol):
    """Reads a page of a pod."""

    async def page(self, pod: Pod, port: int, path: str) -> bytes:
        """Give the page. Raises `NoPage`, and `PeerError` where the pod does not answer, or may not be asked."""


class DirectPages:
    """Asks the pods themselves. Use it as a context."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def page(self, pod: Pod, port: int, path: str) -> bytes:
        """Give the page. Raises `PeerError`."""
        if self._session is None:
            raise CallerError("pages are read outside their context")
        url = f"http://{pod.status.pod_ip}:{port}{path}"
        page = bytearray()
        try:
            async with self._session.get(url) as response:
                if response.status == 404:
                    raise NoPage(f"{url} is not there")
                if response.status != 200:
                    raise PeerError(f"{url} answered {response.status}")
                async for piece in response.content.iter_any():
                    page += piece
                    if len(page) > MAX_PAGE_BYTES:
                        raise PeerError(f"{url} is longer than {MAX_PAGE_BYTES} bytes")
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise PeerError(f"{url}: {error or type(error).__name__}") from error
        return bytes(page)
