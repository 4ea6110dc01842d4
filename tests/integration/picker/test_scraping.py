"""Scraping of metrics pages over real sockets, and what it does to picks."""

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path

import pytest
from aiohttp import web

from argosy.base.endpoint import Endpoint
from argosy.edge.http.scrape import AT_A_TIME, BUSY_S, IDLE_S, MAX_PAGE_BYTES, TIMEOUT_S, scrape_forever
from harness.dataplane import data_plane
from harness.picker_process import picker_process
from harness.waiting import until

RUNNING = "vllm:num_requests_running"
_numbers = itertools.count(1)


class Engine:
    """A page of metrics at an endpoint of its own."""

    def __init__(self) -> None:
        self.page = f"# HELP {RUNNING} Running.\n{RUNNING} 3\n".encode()
        self.status = 200
        self.leads_to: Endpoint | None = None
        self.hangs = asyncio.Event()
        self.hangs.set()
        self.scrapes: list[float] = []
        self.endpoint = Endpoint(f"127.{60 + os.getpid() // 256 % 60}.{os.getpid() % 256}.{next(_numbers)}", 8000)

    async def answer(self, _request: web.Request) -> web.Response:
        self.scrapes.append(asyncio.get_running_loop().time())
        await self.hangs.wait()
        if self.leads_to is not None:
            raise web.HTTPFound(f"http://{self.leads_to}/metrics")
        return web.Response(body=self.page, status=self.status)


class Owner:
    """Takes what comes of scraping."""

    def __init__(self, *engines: Engine) -> None:
        self.engines = engines
        self.at_work: set[Endpoint] = set()
        self.taken: list[tuple[Endpoint, bytes]] = []
        self.failures: dict[Endpoint, str] = {}

    def targets(self) -> Collection[Endpoint]:
        return [engine.endpoint for engine in self.engines]

    def busy(self, endpoint: Endpoint) -> bool:
        return endpoint in self.at_work

    def scrape_began(self, endpoint: Endpoint) -> Endpoint:
        return endpoint

    def scraped(self, mark: Endpoint, page: bytes) -> None:
        self.taken.append((mark, page))

    def scrape_failed(self, endpoint: Endpoint, why: str) -> None:
        self.failures[endpoint] = why


@pytest.fixture
async def engines() -> AsyncIterator[list[Engine]]:
    engines, runners = [Engine() for _ in range(3)], []
    for engine in engines:
        app = web.Application()
        app.router.add_get("/metrics", engine.answer)
        runners.append(web.AppRunner(app, access_log=None, shutdown_timeout=0.1))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], engine.endpoint.address, engine.endpoint.port).start()
    yield engines
    for engine, runner in zip(engines, runners, strict=True):
        engine.hangs.set()
        await runner.cleanup()


@pytest.fixture
async def owner(engines: list[Engine]) -> AsyncIterator[Owner]:
    owner = Owner(*engines)
    scraping = asyncio.create_task(scrape_forever(owner, "/metrics"))
    yield owner
    scraping.cancel()
    await asyncio.wait([scraping])
    assert scraping.cancelled()


async def test_busy_engines_are_asked_often_and_idle_ones_seldom(engines: list[Engine], owner: Owner) -> None:
    busy, idle, _ = engines
    owner.at_work.add(busy.endpoint)
    await until(lambda: len(busy.scrapes) >= 5)
    assert (busy.endpoint, busy.page) in owner.taken
    assert busy.scrapes[4] - busy.scrapes[0] < 4 * IDLE_S
    assert all(after - before > BUSY_S / 2 for before, after in itertools.pairwise(busy.scrapes))
    assert len(idle.scrapes) <= 1 + (busy.scrapes[4] - busy.scrapes[0]) / IDLE_S


async def test_many_that_hang_take_no_place_of_one_that_answers(engines: list[Engine]) -> None:
    taken: list[asyncio.StreamWriter] = []
    hanging, servers = [Engine() for _ in range(2 * AT_A_TIME)], []
    for number, engine in enumerate(hanging):
        # By their addresses they are first in line.
        engine.endpoint = Endpoint(f"127.0.{1 + os.getpid() % 254}.{number}", 8000)
        address = engine.endpoint.address
        servers.append(await asyncio.start_server(lambda _, writer: taken.append(writer), address, 8000))
    owner = Owner(*hanging, *engines)
    scraping = asyncio.create_task(scrape_forever(owner, "/metrics"))
    await until(lambda: all(len(engine.scrapes) >= 2 for engine in engines), within_s=5 * IDLE_S)
    assert owner.failures.keys() == {engine.endpoint for engine in hanging}
    scraping.cancel()
    await asyncio.wait([scraping])
    for writer in taken:
        writer.close()
    for server in servers:
        server.close()


async def test_an_engine_that_gives_no_page_costs_its_own_scrapes_alone(engines: list[Engine], owner: Owner) -> None:
    hanging, broken, endless = engines
    owner.at_work |= {engine.endpoint for engine in engines}
    await until(lambda: {endpoint for endpoint, _ in owner.taken} == owner.at_work)
    hanging.hangs.clear()
    broken.status = 500
    endless.page = b"x" * (MAX_PAGE_BYTES + 1)
    await until(lambda: len(owner.failures) == 3, within_s=3 * TIMEOUT_S)
    assert "answered 500" in owner.failures[broken.endpoint]
    assert "longer than" in owner.failures[endless.endpoint]
    for engine in engines:
        engine.hangs.set()
        engine.status, engine.page = 200, f"{RUNNING} 1\n".encode()
    owner.taken.clear()
    await until(lambda: {endpoint for endpoint, _ in owner.taken} == owner.at_work, within_s=3 * TIMEOUT_S)


async def test_an_engine_cannot_send_the_scraper_elsewhere(engines: list[Engine], owner: Owner) -> None:
    leading, other, _ = engines
    leading.leads_to = other.endpoint
    leading.page = b""
    owner.at_work.add(leading.endpoint)
    await until(lambda: len(leading.scrapes) >= 4)
    assert "answered 302" in owner.failures[leading.endpoint]
    assert len(other.scrapes) <= 2


def loaded(name: str, running: int) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=f"{RUNNING} {running}\n", headers={"x-served-by": name})

    return answer


async def test_what_an_engine_says_of_its_load_steers_picks(tmp_path: Path) -> None:
    async with data_plane(tmp_path) as plane:
        await plane.publish_model("m")
        backends = [await plane.add_backend("m") for _ in range(2)]
        for backend, running in zip(backends, (50, 0), strict=True):
            backend.behave = loaded(str(backend.endpoint), running)
        async with picker_process(plane.store_address, tmp_path, address=plane.address()) as picker:
            await plane.add_picker(Endpoint.parse(picker.address))
            await plane.programmed()

            async def is_scraped() -> bool:
                return await picker.metric("argosy_scrapes_total", result="ok") >= 2

            await until(is_scraped)
            served: Counter[str] = Counter()
            async with plane.client() as client:
                for _ in range(10):
                    async with client.post("/v1/chat/completions", json={"model": "m"}) as response:
                        served[response.headers["x-served-by"]] += 1
            assert served == {str(backends[1].endpoint): 10}
