"""Models that are served under other names, by the picker's process behind real Envoys: ours, and a foreign one."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from argosy.api.inference import InferenceModelRewrite
from argosy.base.endpoint import Endpoint
from harness.dataplane import Backend, DataPlane, data_plane
from harness.foreign_gateway import FULL_DUPLEX, foreign_gateway
from harness.picker_process import PickerProcess, picker_process
from harness.waiting import until

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
DECISIONS = "llm_d_epp_model_rewrite_decisions_total"


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    async with data_plane(tmp_path) as plane:
        yield plane


@pytest.fixture
async def backends(plane: DataPlane) -> list[Backend]:
    """Engines of two models that are asked for, `m` and `plain`; only the first is rewritten."""
    made = []
    for service in ("m", "plain"):
        await plane.publish_model(service)
        made += [await plane.add_backend(service) for _ in range(2)]
    for backend in made:
        backend.behave = engine
    await rewrite(plane, "tuned")
    return made


@pytest.fixture(params=["http2", "grpcio"])
async def picker(
    request: pytest.FixtureRequest, plane: DataPlane, backends: list[Backend], tmp_path: Path
) -> AsyncIterator[PickerProcess]:
    options = ("--transport", request.param)
    async with picker_process(plane.store_address, tmp_path, *options, address=plane.address()) as picker:
        await plane.add_picker(Endpoint.parse(picker.address))
        await plane.programmed()
        assert backends
        yield picker


@pytest.fixture(params=["buffered", "foreign", "foreign, answers buffered", "foreign, answers streamed"])
async def client(
    request: pytest.FixtureRequest, plane: DataPlane, backends: list[Backend], picker: PickerProcess, tmp_path: Path
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of our gateway, and of one of another maker that sends bodies in chunks."""
    if request.param == "buffered":
        async with plane.client() as client:
            yield client
        return
    mode = {"buffered": "BUFFERED", "streamed": "STREAMED"}.get(request.param.rpartition(" ")[2], FULL_DUPLEX)
    pods = [backend.endpoint for backend in backends]
    at, modes = Endpoint.parse(picker.address), {"response_body_mode": mode}
    async with (
        foreign_gateway(tmp_path, at, pods, address=plane.address(), modes=modes) as gateway,
        gateway.client() as client,
    ):
        yield client


async def rewrite(plane: DataPlane, *targets: str | tuple[str, int], name: str = "rollout") -> None:
    """Have requests of pool `m` for model `m` served as these models, each with its weight if it has one."""
    chosen = [{"modelRewrite": each} if isinstance(each, str) else _weighted(*each) for each in targets]
    rule = {"matches": [{"model": {"value": "m"}}], "targets": chosen}
    spec = {"poolRef": {"name": "m"}, "rules": [rule]}
    await plane.apply(InferenceModelRewrite, {"metadata": {"namespace": "default", "name": name}, "spec": spec})


def _weighted(model: str, weight: int) -> dict[str, Any]:
    return {"modelRewrite": model, "weight": weight}


async def engine(request: web.Request) -> web.StreamResponse:
    """Answer as engines do, naming the model that was asked for here."""
    if request.path != CHAT:
        return web.Response(status=404)
    asked = json.loads(await request.read())
    model = asked["model"]
    if not asked.get("stream"):
        return web.json_response(completion(model), headers={"x-asked": model})
    response = web.StreamResponse(headers={"content-type": "text/event-stream", "x-asked": model})
    await response.prepare(request)
    for piece in cut(events(model), asked.get("cut", 1000)):
        await response.write(piece)
    return response


def completion(model: str) -> dict[str, Any]:
    arguments = {"model": "of a tool"}
    message = {"content": 'say "model":"tuned"', "tool_calls": [{"function": {"arguments": arguments}}]}
    return {"id": "1", "model": model, "choices": [{"message": message, "model": "inner"}]}


def events(model: str) -> bytes:
    lines = [json.dumps({**completion(model), "number": number}) for number in range(5)]
    return "".join(f"data: {line}\n\n" for line in (*lines, "[DONE]")).encode()


def cut(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


async def seen(backends: list[Backend]) -> list[tuple[web.Request, bytes]]:
    return [one for backend in backends for one in backend.requests if one[0].path == CHAT]


async def is_idle(picker: PickerProcess) -> bool:
    return (await picker.metric("argosy_reservations"), await picker.metric("argosy_ext_proc_streams")) == (0, 0)


async def test_another_model_serves_and_the_answer_names_the_one_asked_for(
    backends: list[Backend], picker: PickerProcess, client: aiohttp.ClientSession
) -> None:
    body = b'{ "x": {"model":"m"},\n "mod\\u0065l" :\t"m" , "messages": [{"model":"m"}] }'
    steering = dict.fromkeys(("x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite"), "evil")
    headers = {**JSON, "accept-encoding": "gzip", **steering}
    async with client.post(CHAT, data=body, headers=headers) as answer:
        assert answer.status == 200
        assert await answer.text() == json.dumps(completion("m"))
    ((request, received),) = await seen(backends)
    assert received == body.replace(b'"m" ,', b'"tuned" ,')
    assert request.headers["x-llm-d-model-name-rewrite"] == "tuned"
    assert "x-gateway-model-name-rewrite" not in request.headers
    assert "accept-encoding" not in request.headers
    assert int(request.headers.get("content-length", len(received))) == len(received)
    labels = {"model_rewrite_name": "default/rollout", "model_name": "m", "target_model": "tuned"}
    assert await picker.metric(DECISIONS, **labels) == 1
    await until(lambda: is_idle(picker))
