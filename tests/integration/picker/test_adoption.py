"""Pools over pods that Argosy did not make: the HTTPRoute alone decides, with a picker and without."""

import asyncio
import contextlib
import gzip
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from argosy.api.inference import GROUP, InferencePool
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from harness.dataplane import Backend, DataPlane, data_plane
from harness.picker_process import picker_process
from harness.waiting import until

PORTS = (8000, 8001)
REFERENCE = {"name": "argosy-picker", "port": {"number": 9002}}


@pytest.fixture(params=["picked", "unpicked"])
async def plane(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DataPlane]:
    """A data plane of pools whose routes ask for paths only, with a picker and with none."""
    async with contextlib.AsyncExitStack() as stack:
        plane = await stack.enter_async_context(data_plane(tmp_path))
        await adopt(plane, "vllm", "/", REFERENCE)
        await adopt(plane, "own", "/own", None)
        await plane.publish_model("ours")
        await plane.add_backend("ours")
        if request.param == "picked":
            address = plane.address()
            picker = await stack.enter_async_context(picker_process(plane.store_address, tmp_path, address=address))
            await plane.add_picker(Endpoint.parse(picker.address))
        await plane.programmed()
        yield plane
        fail_opens = await plane.stat("http.gateway.ext_proc.failure_mode_allowed")
        assert (fail_opens == 0) == (request.param == "picked")


async def adopt(plane: DataPlane, name: str, path: str, reference: dict[str, Any] | None) -> None:
    """Make a pool of two pods that listen at two ports each, and a route to it by path."""
    spec = {
        "selector": {"matchLabels": {"app": name}},
        "targetPorts": [{"number": port} for port in PORTS],
        "endpointPickerRef": reference,
    }
    await plane.apply(InferencePool, {"metadata": {"namespace": "default", "name": name}, "spec": spec})
    for number in range(2):
        await add_pod(plane, name, f"{name}-{number}")
    backend = {"group": GROUP, "kind": "InferencePool", "name": name}
    await plane.publish_route(name, [{"matches": [{"path": {"value": path}}], "backendRefs": [backend]}])


async def add_pod(plane: DataPlane, app: str, name: str) -> list[Backend]:
    address = plane.address()
    backends = [Backend(name, Endpoint(address, port)) for port in PORTS]
    for backend in backends:
        await backend.start()
        plane.backends.append(backend)
    await plane.add_pod(Key("default", name), {"app": app}, address)
    return backends


async def served_by(plane: DataPlane, method: str, path: str, **request: Any) -> str:
    async with plane.client() as client, client.request(method, path, **request) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["served_by"])


async def test_a_model_that_nobody_knows_is_served_by_the_route(plane: DataPlane) -> None:
    for body in ({"model": "meta/llama", "messages": []}, {"messages": []}, {"model": 7}):
        assert (await served_by(plane, "POST", "/v1/chat/completions", json=body)).startswith("vllm")
    assert (await served_by(plane, "POST", "/own/v1/completions", json={"model": "x"})).startswith("own")
    assert (await served_by(plane, "POST", "/v1/completions", json={"model": "ours"})).startswith("ours")


async def test_a_body_of_any_kind_reaches_it_byte_for_byte(plane: DataPlane) -> None:
    bodies = (b"\x00\x01binary", b"", b"{not json", b'{"model": "a", "model": "b"}', gzip.compress(b"{}"))
    for body in bodies:
        headers = {"content-encoding": "gzip"} if body[:2] == b"\x1f\x8b" else {}
        await served_by(plane, "POST", "/generate", data=body, headers={"content-type": "text/plain", **headers})
    received = [body for backend in plane.backends for request, body in backend.requests if request.path == "/generate"]
    expected = [*bodies[:-1], b"{}"]  # the backends' server unpacks what is packed
    assert sorted(received) == sorted(expected)


async def test_any_method_and_path_reaches_it(plane: DataPlane) -> None:
    for method, path in (("GET", "/health"), ("GET", "/v1/models"), ("DELETE", "/v1/files/x"), ("PUT", "/x?y=z")):
        assert (await served_by(plane, method, path)).startswith("vllm")
    async with aiohttp.ClientSession() as client, client.head(f"{plane.url}/own") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ("/team/v1/completions?a=b", "/v1/completions?a=b"),
        ("/team", "/"),
        ("/deep/er/v1/completions", "/v1/engine/v1/completions"),
        ("/whole/v1/completions?a=b", "/v1/chat/completions?a=b"),
    ],
)
async def test_what_its_route_changes_on_the_way_is_changed(plane: DataPlane, asked: str, seen: str) -> None:
    headers = {"set": [{"name": "X-Team", "value": "100 % ours"}], "add": [{"name": "Via", "value": "argosy"}]}
    changing = {"type": "RequestHeaderModifier", "requestHeaderModifier": {**headers, "remove": ["Cookie"]}}
    answering = {
        "type": "ResponseHeaderModifier",
        "responseHeaderModifier": {"set": [{"name": "X-Kept", "value": "yes"}], "remove": ["X-Served-By"]},
    }
    paths = {
        "/team": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"},
        "/deep/er": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v1/engine"},
        "/whole": {"type": "ReplaceFullPath", "replaceFullPath": "/v1/chat/completions"},
    }
    backend = {"group": GROUP, "kind": "InferencePool", "name": "own"}
    rules = [
        {
            "matches": [{"path": {"value": prefix}}],
            "backendRefs": [backend],
            "filters": [
                {"type": "URLRewrite", "urlRewrite": {"hostname": "engine.example.com", "path": path}},
                changing,
                answering,
            ],
        }
        for prefix, path in paths.items()
    ]
    await plane.publish_route("changing", rules)
    await plane.programmed()
    sent = {"x-team": "theirs", "cookie": "secret", "via": "client"}
    async with plane.client() as client, client.post(asked, json={"model": "x"}, headers=sent) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["x-kept"] == "yes"
        assert "x-served-by" not in answer.headers
    ((request, _),) = [one for each in plane.backends for one in each.requests if one[0].path_qs == seen]
    assert request.headers["host"] == "engine.example.com"
    assert request.headers["x-team"] == "100 % ours"
    assert request.headers.getall("via") in (["client", "argosy"], ["client,argosy"])
    assert "cookie" not in request.headers


async def test_every_port_of_every_pod_is_an_endpoint(plane: DataPlane) -> None:
    async with plane.client() as client:
        for _ in range(60):
            async with client.post("/v1/completions", json={"model": "x"}) as answer:
                assert answer.status == 200
    mine = [backend for backend in plane.backends if backend.name.startswith("vllm")]
    assert len(mine) == 4
    assert all(any(request.path == "/v1/completions" for request, _ in backend.requests) for backend in mine)


async def test_pods_come_and_go_under_load_and_no_request_fails(plane: DataPlane) -> None:
    answers: Counter[int] = Counter()
    servers: Counter[str] = Counter()

    async def ask(client: aiohttp.ClientSession) -> None:
        while True:
            async with client.post("/v1/completions", json={"model": "x"}) as answer:
                answers[answer.status] += 1
                servers[(await answer.json())["served_by"]] += 1

    async with plane.client() as client:
        tasks = [asyncio.create_task(ask(client)) for _ in range(6)]
        for number in range(2, 6):
            added = await add_pod(plane, "vllm", f"vllm-{number}")
            await until(lambda name=added[0].name: servers[name] > 0)
            gone = f"vllm-{number - 2}"
            await plane.remove_pod(gone)
            await plane.programmed()
            for backend in plane.backends:
                if backend.name == gone:
                    await backend.stop()
        before = answers.total()
        await until(lambda: answers.total() > before + 50)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert set(answers) == {200}
    assert {"vllm-4", "vllm-5"} <= set(servers)
