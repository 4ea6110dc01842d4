"""Metrics pages: in pieces, garbled, too long, or not there."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from argosy.api.containers import Container
from argosy.api.kubernetes import ContainerStatus, Pod, PodSpec, PodStatus
from argosy.api.names import COMPONENT, METRICS_PORT
from argosy.api.objects import ObjectMeta
from argosy.apps.fleet.fleet import Fleet
from argosy.apps.fleet.observe import observe, read_samples
from argosy.base.errors import PeerError
from argosy.edge.http.pages import MAX_PAGE_BYTES, DirectPages
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.port import Listing, Withheld


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def in_pieces(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b"# TYPE argosy_picks_total counter\nargosy_pic", b'ks_total{pool="a/b"} 3\n'):
            await response.write(piece)
        return response

    async def long(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(MAX_PAGE_BYTES // 65536 + 1):
            await response.write(b"#" * 65536)
        return response

    app = web.Application()
    app.add_routes([web.get("/pieces", in_pieces), web.get("/long", long)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


def pod(name: str = "picker-0", component: str = "picker", *, running: bool = True) -> Pod:
    state = {"running": {}} if running else {"waiting": {}}
    status = ContainerStatus(name="c", ready=True, restart_count=0, state=state)
    return Pod(
        metadata=ObjectMeta(name=name, namespace="argosy-system", labels={COMPONENT: component}),
        spec=PodSpec(containers=(Container(name="c", image="i"),)),
        status=PodStatus(pod_ip="127.0.0.1", container_statuses=(status,)),
    )


async def test_a_page_may_come_in_pieces(port: int) -> None:
    async with DirectPages() as pages:
        page = await pages.page(pod(), port, "/pieces")
    assert read_samples(page) == {("argosy_picks_total", (("pool", "a/b"),)): 3.0}


@pytest.mark.parametrize(("path", "says"), [("/long", "longer than"), ("/nothing", "not there")])
async def test_a_page_that_is_none_is_an_error(port: int, path: str, says: str) -> None:
    async with DirectPages() as pages:
        with pytest.raises(PeerError, match=says):
            await pages.page(pod(), port, path)


async def test_a_pod_that_does_not_answer_is_an_error() -> None:
    async with DirectPages() as pages:
        with pytest.raises(PeerError, match=r"127\.0\.0\.1:1/"):
            await pages.page(pod(), 1, "/metrics")


@pytest.mark.parametrize("page", [b"argosy_picks_total{\xff\n", b"argosy_picks_total{\n"])
def test_a_page_that_cannot_be_read_is_an_error(page: bytes) -> None:
    with pytest.raises(PeerError, match="cannot be read"):
        read_samples(page)


class FixedPages:
    """Pages by pod and path; the rest does not answer."""

    def __init__(self, pages: dict[tuple[str, str], bytes]) -> None:
        self._pages = pages

    async def page(self, asked: Pod, port: int, path: str) -> bytes:
        assert port == METRICS_PORT
        try:
            return self._pages[asked.metadata.name, path]
        except KeyError:
            raise PeerError("it does not answer") from None


class ReservedStore(InMemoryStore):
    """A store that shows no pods outside one namespace, as an API server to a user of that namespace."""

    async def list(self, kind: type, *, namespace: str | None = None) -> Listing:
        if kind is Pod and namespace != "default":
            raise Withheld("pods of v1 cannot be read: forbidden")
        return await super().list(kind, namespace=namespace)


def store(kind: type[InMemoryStore] = InMemoryStore) -> InMemoryStore:
    numbers = iter(range(1000))
    return kind(now=lambda: "2026-01-01T00:00:00Z", new_uid=lambda: str(next(numbers)))


async def test_pages_of_all_pickers_are_added_up_and_one_that_is_missing_is_said() -> None:
    objects = store()
    pods = [pod(f"picker-{i}") for i in range(3)] + [pod("picker-3", running=False), pod("envoy-0", "envoy")]
    for each in pods:
        await objects.write_status(await objects.apply(each, owner="test") and each)
    pages = FixedPages({(f"picker-{i}", "/metrics"): b"argosy_reservations 2\n" for i in range(2)})
    found = await observe(Fleet(store=objects, pages=pages))
    assert found.gateway.reservations == 4
    assert found.gateway.fail_opens is None
    assert found.unseen == (
        "metrics of picker-2: it does not answer",
        "metrics of envoy-0: it does not answer",
    )


async def test_what_a_user_may_not_read_is_said_and_the_rest_is_shown() -> None:
    found = await observe(Fleet(store=store(ReservedStore), pages=FixedPages({}), namespace="default"))
    assert found.unseen == ("pods of v1 cannot be read: forbidden",)
    assert found.components == ()
