"""Scrapes the metrics pages of engines: often while they work, seldom while they idle.

Rules of this file:

- An endpoint is scraped every `BUSY_S` while the owner says that it is busy, every `IDLE_S` otherwise, once at a time.
- Everything is bounded: pages, seconds, scrapes at a time. An endpoint that does not answer costs its own scrapes
  only: whoever failed last shares a few places with its like, and leaves the others' alone. A scrape's time begins with
  its place.
"""

import asyncio
from collections.abc import Collection
from typing import Final, Generic, Protocol, TypeVar

import aiohttp

from argosy.base.endpoint import Endpoint
from argosy.base.errors import PeerError

BUSY_S: Final = 0.5
IDLE_S: Final = 2.5
"""What is believed of an idle endpoint is at most so old, a tick and the longest scrape older: below 5 s."""
TICK_S: Final = 0.25
TIMEOUT_S: Final = 2.0
AT_A_TIME: Final = 32
FAILING_AT_A_TIME: Final = 16
MAX_PAGE_BYTES: Final = 2 * 1024 * 1024

MarkT = TypeVar("MarkT")


class ScrapeOwner(Protocol, Generic[MarkT]):
    """Says what is scraped, and takes what comes of it."""

    def targets(self) -> Collection[Endpoint]:
        """Endpoints to scrape."""

    def busy(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint's load changes now."""

    def scrape_began(self, endpoint: Endpoint) -> MarkT:
        """Take note that the endpoint is about to be asked."""

    def scraped(self, mark: MarkT, page: bytes) -> None:
        """Take the page."""

    def scrape_failed(self, endpoint: Endpoint, why: str) -> None:
        """Take note that the endpoint gave no page."""


async def scrape_forever(owner: ScrapeOwner[MarkT], path: str) -> None:
    """Scrape `http://ENDPOINT{path}` of all targets until cancelled."""
    loop = asyncio.get_running_loop()
    began_s: dict[Endpoint, float] = {}
    running: set[Endpoint] = set()
    failing: set[Endpoint] = set()
    places, places_of_failing = asyncio.Semaphore(AT_A_TIME), asyncio.Semaphore(FAILING_AT_A_TIME)

    async def scrape(session: aiohttp.ClientSession, endpoint: Endpoint) -> None:
        async with places_of_failing if endpoint in failing else places:
            mark = owner.scrape_began(endpoint)
            try:
                owner.scraped(mark, await read_page(session, f"http://{endpoint}{path}"))
                failing.discard(endpoint)
            except PeerError as error:
                owner.scrape_failed(endpoint, str(error))
                failing.add(endpoint)
            finally:
                running.discard(endpoint)

    connector = aiohttp.TCPConnector(limit=0, limit_per_host=1, keepalive_timeout=3 * IDLE_S)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        while True:
            now_s, targets = loop.time(), set(owner.targets())
            began_s = {endpoint: at for endpoint, at in began_s.items() if endpoint in targets}
            failing &= targets
            for endpoint in sorted(targets - running):
                if now_s - began_s.get(endpoint, -IDLE_S) >= (BUSY_S if owner.busy(endpoint) else IDLE_S):
                    began_s[endpoint] = now_s
                    running.add(endpoint)
                    group.create_task(scrape(session, endpoint))
            await asyncio.sleep(TICK_S)


async def read_page(session: aiohttp.ClientSession, url: str) -> bytes:
    """Give a metrics page. Raises `PeerError` for whatever is none."""
    page = bytearray()
    try:
        # An engine must not send the picker elsewhere: it could reach what the engine itself cannot.
        got = session.get(url, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), allow_redirects=False)
        async with got as response:
            if response.status != 200:
                raise PeerError(f"{url} answered {response.status}")
            async for chunk in response.content.iter_any():
                page += chunk
                if len(page) > MAX_PAGE_BYTES:
                    raise PeerError(f"{url} is longer than {MAX_PAGE_BYTES} bytes")
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise PeerError(f"{url}: {error or type(error).__name__}") from error
    return bytes(page)
