"""Routing by Envoy alone: the own model's pool or 503, never another model's."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from argosy.api.names import MAX_BODY_BYTES
from harness.dataplane import Backend, DataPlane, data_plane
from harness.waiting import until

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    async with data_plane(tmp_path) as plane:
        yield plane


@pytest.fixture
async def alpha(plane: DataPlane) -> Backend:
    return await _model(plane, "alpha")


@pytest.fixture
async def beta(plane: DataPlane) -> Backend:
    return await _model(plane, "beta")


@pytest.fixture
async def client(plane: DataPlane, alpha: Backend, beta: Backend) -> AsyncIterator[aiohttp.ClientSession]:
    await plane.programmed()
    assert alpha is not beta
    async with plane.client() as client:
        yield client


async def _model(plane: DataPlane, name: str) -> Backend:
    backend = await plane.add_backend(name)
    await plane.publish_model(name)
    return backend


async def _ask(client: aiohttp.ClientSession, model: str, **headers: str) -> tuple[int, str | None]:
    async with client.post(CHAT, json={"model": model}, headers=headers) as answer:
        await answer.read()
        return answer.status, answer.headers.get("x-served-by")


async def test_a_request_reaches_the_pool_of_its_model(
    client: aiohttp.ClientSession, alpha: Backend, beta: Backend
) -> None:
    assert await _ask(client, "alpha") == (200, str(alpha.endpoint))
    assert await _ask(client, "beta") == (200, str(beta.endpoint))


async def test_an_unknown_model_gets_503_in_openai_form(client: aiohttp.ClientSession) -> None:
    async with client.post(CHAT, json={"model": "gamma"}) as answer:
        assert answer.status == 503
        assert answer.content_type == "application/json"
        error = (await answer.json())["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "server_error"


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"model": 1}', b'{"no": "model"}', b"\xff\xfe"])
async def test_a_body_without_a_model_reaches_no_pool(
    client: aiohttp.ClientSession, alpha: Backend, beta: Backend, body: bytes
) -> None:
    async with client.post(CHAT, data=body, headers=JSON) as answer:
        assert answer.status == 503
    assert alpha.requests == beta.requests == []


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON;charset=UTF-8", "text/plain", None]
)
async def test_the_model_is_found_whatever_form_the_content_type_has(
    client: aiohttp.ClientSession, alpha: Backend, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    skipped = ["content-type"] if content_type is None else []
    body = b'{"model": "alpha"}'
    async with client.post(CHAT, data=body, headers=headers, skip_auto_headers=skipped) as answer:
        assert answer.status == 200
    assert alpha.requests[0][1] == body


async def test_steering_headers_of_clients_have_no_effect(
    client: aiohttp.ClientSession, alpha: Backend, beta: Backend
) -> None:
    spoofs = {
        "x-argosy-pool": "default/beta",
        "x-gateway-destination-endpoint": str(beta.endpoint),
        "X-Gateway-Model-Name": "beta",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x_argosy_pool": "default/beta",
    }
    assert await _ask(client, "alpha", **spoofs) == (200, str(alpha.endpoint))
    assert (await _ask(client, "gamma", **spoofs))[0] == 503
    request, _ = alpha.requests[0]
    assert not {name.lower() for name in spoofs} & {name.lower() for name in request.headers}


async def test_the_body_arrives_unchanged_and_the_request_has_an_id(
    client: aiohttp.ClientSession, alpha: Backend
) -> None:
    body = b' {"model":  "alpha", "n": 1e2, "s": "\\u00e9"} '
    async with client.post(CHAT, data=body, headers={**JSON, "x-request-id": "mine"}) as answer:
        assert answer.headers["x-request-id"] == "mine"
    async with client.post(CHAT, data=body, headers=JSON) as answer:
        generated = answer.headers["x-request-id"]
    assert [received for _, received in alpha.requests] == [body, body]
    assert alpha.requests[1][0].headers["x-request-id"] == generated != "mine"


async def test_models_are_listed(client: aiohttp.ClientSession) -> None:
    async with client.get("/v1/models") as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"
        listing = await answer.json()
    assert listing["object"] == "list"
    assert [model["id"] for model in listing["data"]] == ["alpha", "beta"]


async def test_many_models_are_listed_beyond_envoys_default_size(plane: DataPlane) -> None:
    for number in range(60):
        await plane.publish_model(f"model-{number:02d}", model=f"organization/a-rather-long-model-name-{number:02d}")
    await plane.programmed()
    async with plane.client() as client, client.get("/v1/models") as answer:
        assert len((await answer.json())["data"]) == 60


async def test_a_path_route_needs_no_model(plane: DataPlane, alpha: Backend, client: aiohttp.ClientSession) -> None:
    reference = {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "alpha"}
    rule = {"matches": [{"path": {"type": "PathPrefix", "value": "/extra"}}], "backendRefs": [reference]}
    await plane.publish_route("by-path", [rule])
    await plane.programmed()
    async with client.get("/extra/thing") as answer:
        assert answer.headers["x-served-by"] == str(alpha.endpoint)
    async with client.get("/extraordinary") as answer:
        assert answer.status == 503


async def test_a_rule_whose_backend_does_not_resolve_answers_500(
    plane: DataPlane, client: aiohttp.ClientSession
) -> None:
    rule = {"matches": [{"path": {"value": "/lost"}}], "backendRefs": [{"name": "some-service", "port": 80}]}
    await plane.publish_route("lost", [rule])
    await plane.programmed()
    async with client.post("/lost", json={"model": "none"}) as answer:
        assert answer.status == 500
        assert (await answer.json())["error"]["type"] == "server_error"


async def test_endpoints_come_and_go_while_running(plane: DataPlane, alpha: Backend) -> None:
    await plane.programmed()
    async with plane.client() as client:
        second = await plane.add_backend("alpha")

        async def served_by() -> str | None:
            return (await _ask(client, "alpha"))[1]

        async def is_served_by(backend: Backend) -> bool:
            return await served_by() == str(backend.endpoint)

        await until(lambda: is_served_by(second))
        await plane.remove_pod(alpha.name)
        await plane.programmed()
        assert {await served_by() for _ in range(10)} == {str(second.endpoint)}
        await plane.remove_pod(second.name)
        await plane.programmed()
        assert (await _ask(client, "alpha"))[0] == 503


async def test_an_unready_pod_gets_no_requests(plane: DataPlane, alpha: Backend) -> None:
    unready = await plane.add_backend("alpha", ready=False)
    await plane.programmed()
    async with plane.client() as client:
        assert {await _ask(client, "alpha") for _ in range(10)} == {(200, str(alpha.endpoint))}
    assert unready.requests == []


@pytest.mark.usefixtures("alpha")
async def test_a_new_model_is_served_without_a_gap_for_the_others(plane: DataPlane) -> None:
    await plane.programmed()
    async with plane.client() as client:
        for number in range(5):
            await _model(plane, f"other-{number}")
            assert (await _ask(client, "alpha"))[0] == 200
        await plane.programmed()
        assert [(await _ask(client, f"other-{number}"))[0] for number in range(5)] == [200] * 5


async def test_the_listener_follows_the_gateways_port(plane: DataPlane, alpha: Backend) -> None:
    await plane.listen(8181)
    await plane.programmed()
    async with plane.client() as client:
        assert await _ask(client, "alpha") == (200, str(alpha.endpoint))
    with pytest.raises(aiohttp.ClientConnectionError):
        async with aiohttp.ClientSession() as client, client.get(f"http://{plane.bind_address}:8080/"):
            pass


async def test_a_body_of_20_mb_passes(client: aiohttp.ClientSession, alpha: Backend) -> None:
    body = json.dumps({"model": "alpha", "prompt": "x" * 20_000_000}).encode()
    async with client.post(CHAT, data=io.BytesIO(body), headers=JSON) as answer:
        assert answer.status == 200, await answer.text()
    assert alpha.requests[0][1] == body


async def test_a_body_above_the_limit_gets_413_in_openai_form(client: aiohttp.ClientSession, alpha: Backend) -> None:
    body = json.dumps({"model": "alpha", "prompt": "x" * (MAX_BODY_BYTES + 1024 * 1024)}).encode()
    async with client.post(CHAT, data=io.BytesIO(body), headers=JSON) as answer:
        assert answer.status == 413
        error = (await answer.json())["error"]
    assert str(MAX_BODY_BYTES) in error["message"]
    assert error["type"] == "invalid_request_error"
    assert alpha.requests == []


async def test_a_backend_that_dies_before_its_headers_is_retried_elsewhere(plane: DataPlane, alpha: Backend) -> None:
    second = await plane.add_backend("alpha")

    async def reset(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    alpha.behave = reset
    await plane.programmed()
    async with plane.client() as client:
        for _ in range(20):
            assert await _ask(client, "alpha") == (200, str(second.endpoint))
    assert alpha.requests


async def test_a_backend_that_refuses_connections_is_passed_over(plane: DataPlane, alpha: Backend) -> None:
    second = await plane.add_backend("alpha")
    await plane.programmed()
    await alpha.stop()
    async with plane.client() as client:
        for _ in range(20):
            assert await _ask(client, "alpha") == (200, str(second.endpoint))


async def test_an_answer_is_streamed_as_it_comes(plane: DataPlane, alpha: Backend) -> None:
    written = []

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number in range(3):
            written.append(number)
            await response.write(f"data: {number}\n\n".encode())
            await until(lambda number=number: len(received) > number)
        await response.write_eof()
        return response

    received: list[bytes] = []
    alpha.behave = stream
    await plane.programmed()
    async with plane.client() as client, client.post(CHAT, json={"model": "alpha", "stream": True}) as answer:
        while line := await answer.content.readline():
            received += [line] if line.strip() else []
    assert received == [b"data: 0\n", b"data: 1\n", b"data: 2\n"]
