"""What a server, or something between, may answer that a real API server hardly ever does."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from argosy.api.gateway import HTTPRoute
from argosy.api.objects import encode
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.connection import settings_of_kubeconfig
from argosy.edge.kube.port import Gone, Rejected, StoreUnavailable
from contracts.store_contract import route


@asynccontextmanager
async def answering(folder: Path, answer: Callable[[web.Request], web.Response]) -> AsyncIterator[KubernetesStore]:
    """Give a store at a server that answers every request so."""

    async def handle(request: web.Request) -> web.Response:
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address, port = runner.addresses[0][:2]
        config = {
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": f"http://{address}:{port}"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c"}}],
        }
        (folder / "config").write_text(json.dumps(config))
        async with KubernetesStore(settings_of_kubeconfig(folder / "config")) as store:
            yield store
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "line",
    [
        b'{"type": "LATER", "object": {"metadata": {"name": "a", "resourceVersion": "1"}, "spec": {}}}',
        b'{"type": 7, "object": {}}',
        b'{"type": "BOOKMARK", "object": {}}',
        b'{"type": "ERROR", "object": {}}',
        b'{"type": "ERROR", "object": 7}',
        b'{"object": {}}',
        b"[]",
        b"{",
    ],
)
async def test_an_event_that_cannot_be_read_is_a_server_that_is_unavailable(tmp_path: Path, line: bytes) -> None:
    async with (
        answering(tmp_path, lambda _: web.Response(body=line + b"\n")) as store,
        aclosing(store.watch(HTTPRoute, since="0")) as events,
    ):
        with pytest.raises(StoreUnavailable):
            await anext(events)


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 429, 500, 502])
async def test_a_page_in_place_of_a_list_is_a_server_that_is_unavailable(tmp_path: Path, status: int) -> None:
    async with answering(tmp_path, lambda _: web.Response(status=status, text="<html>not now</html>")) as store:
        with pytest.raises(StoreUnavailable):
            await store.list(HTTPRoute)


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"metadata": 7}', b'{"metadata": {"continue": ""}}'])
async def test_a_list_without_its_version_is_a_server_that_is_unavailable(tmp_path: Path, content: bytes) -> None:
    async with answering(tmp_path, lambda _: web.Response(body=content)) as store:
        with pytest.raises(StoreUnavailable):
            await store.list(HTTPRoute)


async def test_a_version_that_is_too_old_is_gone_whether_the_status_says_so_or_the_event(tmp_path: Path) -> None:
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    for answer in (
        web.json_response(gone, status=410),
        web.json_response({"type": "ERROR", "object": gone}, dumps=lambda value: json.dumps(value) + "\n"),
    ):
        async with (
            answering(tmp_path, lambda _, answer=answer: answer) as store,
            aclosing(store.watch(HTTPRoute, since="1")) as events,
        ):
            with pytest.raises(Gone, match="too old"):
                await anext(events)


async def test_a_line_ends_at_its_newline_and_at_no_other_separator(tmp_path: Path) -> None:
    odd = "a\u0085b\u2028c"
    wanted = route("space", annotations={"a": odd}, resource_version="2")
    line = json.dumps({"type": "ADDED", "object": encode(wanted)}, ensure_ascii=False) + "\n"
    async with (
        answering(tmp_path, lambda _: web.Response(body=2 * line.encode())) as store,
        aclosing(store.watch(HTTPRoute, since="1")) as events,
    ):
        assert [event.object.metadata.annotations["a"] async for event in events] == [odd, odd]


async def test_a_refusal_without_a_status_carries_what_was_said(tmp_path: Path) -> None:
    def answer(request: web.Request) -> web.Response:
        return web.Response(status=404 if request.method == "GET" else 403, text="the proxy says no")

    async with answering(tmp_path, answer) as store:
        with pytest.raises(Rejected, match="the proxy says no"):
            await store.apply(route("space"), owner="test")
