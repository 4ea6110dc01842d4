"""What is seen of an instance, however it is put."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from argosy.apps.local.observation import GatewayView, Observation, Part, ServiceView, _samples
from argosy.cli.status import _show

GATEWAY = GatewayView(
    url="http://127.0.0.1:8080/v1",
    programmed=True,
    message="",
    picks=0,
    reservations=0,
    fail_opens=0,
    served_not_picked=0,
    fallback_served=0,
)


@pytest.fixture
async def pages() -> AsyncIterator[str]:
    async def in_pieces(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b"# TYPE argosy_picks_total counter\nargosy_pic", b'ks_total{pool="a/b"} 3\n'):
            await response.write(piece)
        return response

    async def garbled(_request: web.Request) -> web.Response:
        return web.Response(body=b"argosy_picks_total{\xff\n")

    app = web.Application()
    app.add_routes([web.get("/pieces", in_pieces), web.get("/garbled", garbled)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_metrics_page_may_come_in_pieces(pages: str) -> None:
    async with aiohttp.ClientSession() as session:
        assert await _samples(session, f"{pages}/pieces") == {("argosy_picks_total", (("pool", "a/b"),)): 3.0}


@pytest.mark.parametrize("path", ["/garbled", "/nothing"])
async def test_a_page_that_cannot_be_read_counts_as_none(pages: str, path: str) -> None:
    async with aiohttp.ClientSession() as session:
        assert await _samples(session, pages + path) == {}


def test_status_prints_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    part = Part(name="picker", pod="p", pid=None, address=None, ready=False, restarts=0, message="[bold]it waits[/x]")
    service = ServiceView(
        name="m",
        namespace="default",
        model="a[/b]",
        available=True,
        message="1 of 1 [engine] ready",
        wanted=1,
        settled=True,
        requests=0,
        running=0,
        replicas=(),
        conditions=(),
        stand_ins=(),
    )
    _show(Observation(services=(service,), components=(part,), gateway=GATEWAY))
    printed = capsys.readouterr().out
    assert "model a[/b]" in printed
    assert "[engine]" in printed
    assert "[bold]it waits[/x]" in printed
