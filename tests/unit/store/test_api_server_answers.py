"""What a server, or something between, may answer that a real API server hardly ever does."""

import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from argosy.api.gateway import HTTPRoute
from argosy.api.objects import Key, encode
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.connection import MAX_LINE_BYTES
from argosy.edge.kube.port import Gone, NotLeading, OwnedByAnother, Rejected, StoreUnavailable
from contracts.store_contract import route, with_status
from harness.api_answers import answering_api


@asynccontextmanager
async def answering(
    folder: Path, answer: Callable[[web.Request], web.Response], may_write: Callable[[], bool] | None = None
) -> AsyncIterator[KubernetesStore]:
    """Give a store at a server that answers every request so."""

    async def handle(request: web.Request) -> web.Response:
        return answer(request)

    async with answering_api(folder, handle) as settings, KubernetesStore(settings, may_write) as store:
        yield store


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


async def test_a_line_without_an_end_is_given_up(tmp_path: Path) -> None:
    async with (
        answering(tmp_path, lambda _: web.Response(body=b" " * (MAX_LINE_BYTES + 1))) as store,
        aclosing(store.watch(HTTPRoute, since="1")) as events,
    ):
        with pytest.raises(StoreUnavailable, match="a line of more than"):
            await anext(events)


async def test_a_refusal_without_a_status_carries_what_was_said(tmp_path: Path) -> None:
    def answer(request: web.Request) -> web.Response:
        return web.Response(status=404 if request.method == "GET" else 403, text="the proxy says no")

    async with answering(tmp_path, answer) as store:
        with pytest.raises(Rejected, match="the proxy says no"):
            await store.apply(route("space"), owner="test")


WRITES: dict[str, Callable[[KubernetesStore], Awaitable[Any]]] = {
    "apply": lambda store: store.apply(route("space"), owner="test"),
    "retake": lambda store: store.retake(route("space"), owner="test"),
    "delete": lambda store: store.delete(HTTPRoute, Key("space", "a")),
    "write_status": lambda store: store.write_status(with_status(route("space"), "mine")),
}


@pytest.mark.parametrize("write", WRITES)
async def test_whoever_may_not_write_reads_and_sends_nothing_else(tmp_path: Path, write: str) -> None:
    seen = []

    def answer(request: web.Request) -> web.Response:
        seen.append(request.method)
        if write == "write_status":
            return web.json_response(encode(route("space", uid="u", resource_version="1")))
        return web.Response(status=404)

    async with answering(tmp_path, answer, lambda: False) as store:
        with pytest.raises(NotLeading):
            await WRITES[write](store)
    assert set(seen) <= {"GET"}


@pytest.mark.parametrize("yes", [0, 1, 2])
async def test_whether_it_may_write_is_asked_until_the_last_byte_that_counts(tmp_path: Path, yes: int) -> None:
    written: list[bytes] = []
    asked: list[bool] = []

    async def handle(request: web.Request) -> web.Response:
        if request.method == "GET":
            assert not asked
            return web.Response(status=404)
        written.append(await request.read())
        return web.Response(status=403)

    def may_write() -> bool:
        asked.append(len(asked) < yes)
        return asked[-1]

    async with answering_api(tmp_path, handle) as settings, KubernetesStore(settings, may_write) as store:
        with pytest.raises(Rejected if yes == 2 else NotLeading):
            await store.apply(route("space"), owner="test")
    assert len(written) == (1 if yes == 2 else 0)


async def test_what_is_retaken_must_still_be_as_it_was_read(tmp_path: Path) -> None:
    sent: list[Any] = []

    async def handle(request: web.Request) -> web.Response:
        version = str(len(sent) + 1)
        if request.method == "GET":
            return web.json_response(encode(route("space", uid="u", resource_version=version)))
        sent.append(json.loads(await request.read())["metadata"])
        answer = {"kind": "Status", "code": 409, "reason": "Conflict", "message": "the object has been modified"}
        if len(sent) == 1:
            return web.json_response(answer, status=409)
        return web.json_response(encode(route("space", uid="u", resource_version="9")))

    async with answering_api(tmp_path, handle) as settings, KubernetesStore(settings) as store:
        await store.retake(route("space"), owner="test")
    assert [(each["uid"], each["resourceVersion"]) for each in sent] == [("u", "1"), ("u", "2")]


def conflict(message: str) -> dict[str, Any]:
    cause = {"reason": "FieldManagerConflict", "message": message, "field": ".spec.rules"}
    return {"kind": "Status", "code": 409, "reason": "Conflict", "message": message, "details": {"causes": [cause]}}


async def test_only_what_the_server_says_that_a_hand_updated_is_forced(tmp_path: Path) -> None:
    said = (
        'conflict with "them"',
        'conflict with "kubectl" with subresource "scale" using v1 at 2026-01-01T00:00:00Z',
        "conflict of another wording",
        'conflict with "kubectl-edit" using v1',
        "the object has been modified",
    )
    answers = itertools.chain(said, itertools.repeat('conflict with "them"'))
    forced = []

    def answer(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response(encode(route("space", uid="u", resource_version="1")))
        forced.append(request.query["force"])
        return web.json_response(conflict(next(answers)), status=409)

    async with answering(tmp_path, answer) as store:
        with pytest.raises(OwnedByAnother):
            await store.retake(route("space"), owner="test")
    assert forced[:5] == ["false", "false", "false", "false", "true"]
