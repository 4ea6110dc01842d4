import asyncio
import io
import random
import select
import socket
import stat
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from argosy.api.gateway import HTTPRoute
from argosy.api.kubernetes import Namespace
from argosy.api.objects import Key, ObjectMeta
from argosy.base.errors import CallerError, UserError
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.port import Gone, StoreUnavailable
from argosy.edge.kube.remote import RemoteStore
from argosy.edge.kube.serve import serve_store
from contracts.store_contract import route
from harness.waiting import until


def memory_store(history: int = 1024) -> InMemoryStore:
    count = iter(range(1_000_000))
    return InMemoryStore(now=lambda: "2026-01-01T00:00:00Z", new_uid=lambda: f"uid{next(count)}", history=history)


async def ask(path: Path, method: str, target: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.request(method, f"http://store{target}", data=io.BytesIO(body)) as answer,
    ):
        return answer.status, await answer.json()


def peek(peer: socket.socket) -> bytes:
    try:
        return peer.recv(65536, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


async def test_the_socket_is_for_its_owner_alone_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    async with serve_store(memory_store(), path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_the_socket_of_a_dead_process_is_replaced_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serve_store(memory_store(), path):
        with pytest.raises(UserError, match="served by another process"):
            async with serve_store(memory_store(), path):
                pass
        async with RemoteStore(f"unix://{path}") as remote:
            assert (await remote.list(HTTPRoute)).items == ()


@pytest.mark.parametrize("folder", ["missing", "x" * 120])
async def test_a_path_that_cannot_be_a_socket_is_an_error_that_names_it(tmp_path: Path, folder: str) -> None:
    if folder != "missing":
        (tmp_path / folder).mkdir()
    with pytest.raises(UserError, match=folder):
        async with serve_store(memory_store(), tmp_path / folder / "store.sock"):
            pass


@pytest.mark.parametrize("address", ["http://localhost", "unix://relative.sock", "/run/store.sock", ""])
def test_an_address_of_another_form_is_an_error_that_shows_the_right_one(address: str) -> None:
    with pytest.raises(UserError, match="unix:///PATH"):
        RemoteStore(address)


async def test_a_store_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    async with RemoteStore(f"unix://{tmp_path}/none.sock") as remote:
        with pytest.raises(StoreUnavailable):
            await remote.list(HTTPRoute)
        with pytest.raises(StoreUnavailable):
            async with aclosing(remote.watch(HTTPRoute, since="0")) as events:
                await anext(events)


async def test_a_watch_whose_server_ends_is_unavailable_or_over(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    async with RemoteStore(f"unix://{path}") as remote:
        store = memory_store()
        async with serve_store(store, path):
            events = remote.watch(HTTPRoute, since=(await remote.list(HTTPRoute)).resource_version)
            await store.apply(route("space"), owner="test")
            await anext(events)
        async with asyncio.timeout(10), aclosing(events):
            with pytest.raises((StoreUnavailable, StopAsyncIteration)):
                await anext(events)


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("GET", "/v1/objects?apiVersion=v1&kind=Secret", b"", 400),
        ("GET", "/v1/objects", b"", 400),
        ("PUT", "/v1/objects?owner=x", b"", 400),
        ("PUT", "/v1/objects?owner=x", b"[1]", 400),
        ("PUT", "/v1/objects?owner=x", b"\xff\xfe", 400),
        ("PUT", "/v1/objects?owner=x", b'{"apiVersion": "v1", "kind": "Pod"}', 400),
        ("PUT", "/v1/objects?owner=x", b'{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": 7}}', 400),
        ("PUT", "/v1/objects", b'{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}', 400),
        ("PUT", "/v1/objects?owner=x", b" " * (3 * 1024 * 1024), 413),
        ("DELETE", "/v1/objects?apiVersion=v1&kind=Pod", b"", 400),
        ("GET", "/v1/watch?apiVersion=v1&kind=Pod", b"", 400),
        ("GET", "/elsewhere", b"", 404),
    ],
)
async def test_a_bad_request_is_answered_in_json(
    tmp_path: Path, method: str, target: str, body: bytes, status: int
) -> None:
    path = tmp_path / "store.sock"
    async with serve_store(memory_store(), path):
        answered, said = await ask(path, method, target, body)
    assert answered == status
    assert said["error"]
    assert said["message"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"type": "BOOKMARK", "object": {}}',
        b'{"type": 7, "object": {}}',
        b'{"object": {}}',
        b"[]",
        b"{",
        b'{"type": "ADDED", "object": {"metadata": 7}}',
        b'{"type": "ERROR", "error": {}}',
    ],
)
async def test_an_event_that_this_version_does_not_know_is_a_store_that_is_unavailable(
    tmp_path: Path, line: bytes
) -> None:
    async def watch(_request: web.Request) -> web.Response:
        return web.Response(body=line + b"\n")

    app = web.Application()
    app.router.add_get("/v1/watch", watch)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(tmp_path / "store.sock")).start()
        async with (
            RemoteStore(f"unix://{tmp_path}/store.sock") as remote,
            aclosing(remote.watch(HTTPRoute, since="0")) as events,
        ):
            with pytest.raises(StoreUnavailable):
                await anext(events)
    finally:
        await runner.cleanup()


async def test_what_the_contract_forbids_is_our_own_error_on_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    namespace = Namespace(metadata=ObjectMeta(name="space"))
    async with serve_store(memory_store(), path), RemoteStore(f"unix://{path}") as remote:
        for store in (memory_store(), remote):
            with pytest.raises(CallerError, match="namespace"):
                await store.apply(route(""), owner="test")
            with pytest.raises(CallerError, match="no status"):
                await store.write_status(namespace)
    with pytest.raises(CallerError, match="outside its context"):
        await RemoteStore("unix:///x").list(HTTPRoute)


async def test_a_large_object_passes_through_a_watch(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    large = route("space", annotations={"a": "x" * 1_000_000})
    async with serve_store(memory_store(), path), RemoteStore(f"unix://{path}") as remote:
        since = (await remote.list(HTTPRoute)).resource_version
        await remote.apply(large, owner="test")
        async with asyncio.timeout(10), aclosing(remote.watch(HTTPRoute, since=since)) as events:
            assert (await anext(events)).object.metadata.annotations == large.metadata.annotations


async def test_a_watcher_that_stops_reading_is_cut_off_and_finds_its_history_gone(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    store = memory_store(history=8)
    async with serve_store(store, path, heartbeat_s=0.05, stalled_s=0.2), RemoteStore(f"unix://{path}") as remote:
        since = (await remote.list(HTTPRoute)).resource_version
        query = f"apiVersion={HTTPRoute.API_VERSION}&kind=HTTPRoute&since={since}"
        with socket.socket(socket.AF_UNIX) as stalled:
            stalled.connect(str(path))
            stalled.sendall(f"GET /v1/watch?{query} HTTP/1.1\r\nHost: store\r\n\r\n".encode())
            await store.apply(route("space", annotations={"a": "x" * 1_000_000}), owner="test")
            await until(lambda: b"ADDED" in peek(stalled))
            for index in range(16):
                await store.apply(route("space", annotations={"a": f"{index}"}), owner="test")
            poller = select.poll()
            poller.register(stalled, select.POLLHUP)
            await until(lambda: poller.poll(0))
        with pytest.raises(Gone):
            async with aclosing(remote.watch(HTTPRoute, since=since)) as events:
                await anext(events)


async def test_a_quiet_watch_is_kept_alive_and_still_delivers(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    store = memory_store()
    async with serve_store(store, path, heartbeat_s=0.01), RemoteStore(f"unix://{path}") as remote:
        since = (await remote.list(HTTPRoute)).resource_version
        async with aclosing(remote.watch(HTTPRoute, since=since)) as events:
            waiting = asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({waiting}, timeout=0.2)
            assert not done
            made = await store.apply(route("space"), owner="test")
            async with asyncio.timeout(10):
                assert (await waiting).object == made


async def test_many_writers_and_watchers_at_once_see_every_object(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    rng = random.Random(1)
    async with serve_store(memory_store(), path), RemoteStore(f"unix://{path}") as remote:
        since = (await remote.list(HTTPRoute)).resource_version

        async def watched() -> set[Key]:
            seen: set[Key] = set()
            async with aclosing(remote.watch(HTTPRoute, since=since)) as events:
                async for event in events:
                    seen.add(event.object.key)
                    if len(seen) == 40:
                        break
            return seen

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            watchers = [group.create_task(watched()) for _ in range(4)]
            for index in rng.sample(range(40), 40):
                group.create_task(remote.apply(route("space", f"r{index}"), owner="test"))
        assert all(watcher.result() == {Key("space", f"r{index}") for index in range(40)} for watcher in watchers)
