"""Models that are served under other names, by the picker's process behind real Envoys: ours, and a foreign one."""

import asyncio
import contextlib
import io
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from argosy.api.inference import InferenceModelRewrite
from argosy.api.names import MAX_BODY_BYTES
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from harness.dataplane import Backend, DataPlane, starting_data_plane
from harness.foreign_gateway import FULL_DUPLEX, foreign_gateway
from harness.picker_process import PickerProcess, picker_process
from harness.waiting import until

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
DECISIONS = "llm_d_epp_model_rewrite_decisions_total"


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    async with starting_data_plane(tmp_path) as plane:
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
    decisions = ("--decisions-file", str(tmp_path / "decisions.jsonl"), "--decisions-sample", "1")
    options = ("--transport", request.param, *decisions)
    async with picker_process(plane.store_address, tmp_path, *options, address=plane.address()) as picker:
        await plane.add_picker(Endpoint.parse(picker.address))
        await plane.programmed()
        assert backends
        yield picker


@pytest.fixture(params=["buffered", "foreign"])
async def client(
    request: pytest.FixtureRequest, plane: DataPlane, backends: list[Backend], picker: PickerProcess, tmp_path: Path
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of our gateway, and of one of another maker that sends bodies and answers in chunks."""
    if request.param == "buffered":
        async with plane.client() as client:
            yield client
        return
    async with foreign_client(plane, backends, picker, tmp_path, FULL_DUPLEX) as client:
        yield client


@contextlib.asynccontextmanager
async def foreign_client(
    plane: DataPlane, backends: list[Backend], picker: PickerProcess, folder: Path, answers: str
) -> AsyncIterator[aiohttp.ClientSession]:
    """Use a gateway of another maker that sends the bodies of answers so."""
    pods = [backend.endpoint for backend in backends]
    at, modes = Endpoint.parse(picker.address), {"response_body_mode": answers}
    async with (
        foreign_gateway(folder, at, pods, address=plane.address(), modes=modes) as gateway,
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


async def test_a_body_without_a_length_and_the_largest_are_rewritten_too(
    backends: list[Backend], picker: PickerProcess, client: aiohttp.ClientSession
) -> None:
    # What a longer name makes larger than the limit our gateway refuses.
    largest = b'{"model": "m"' + b" " * (MAX_BODY_BYTES - 14 - 4) + b"}"
    for body in (b'{"model": "m"}', largest):
        for sent in (io.BytesIO(body), pieces(body)):
            async with client.post(CHAT, data=sent, headers=JSON) as answer:
                assert (answer.status, await answer.json()) == (200, completion("m"))
    bodies = Counter(received for _, received in await seen(backends))
    assert bodies == {body.replace(b'"m"', b'"tuned"'): 2 for body in (b'{"model": "m"}', largest)}
    await until(lambda: is_idle(picker))


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for piece in cut(body, 500_000):
        yield piece
        await asyncio.sleep(0)


async def test_an_answer_that_streams_names_the_model_asked_for_wherever_it_is_cut(
    picker: PickerProcess, client: aiohttp.ClientSession
) -> None:
    for size in (1, 7, 100, 5000):
        async with client.post(CHAT, json={"model": "m", "stream": True, "cut": size}) as answer:
            assert await answer.read() == events("m")
    await until(lambda: is_idle(picker))


@pytest.mark.parametrize("answers", ["BUFFERED", "STREAMED"])
async def test_a_gateway_may_send_answers_in_other_ways(
    plane: DataPlane, backends: list[Backend], picker: PickerProcess, tmp_path: Path, answers: str
) -> None:
    async with foreign_client(plane, backends, picker, tmp_path, answers) as client:
        async with client.post(CHAT, json={"model": "m"}) as answer:
            assert (answer.status, await answer.json()) == (200, completion("m"))
        for size in (1, 5000):
            async with client.post(CHAT, json={"model": "m", "stream": True, "cut": size}) as answer:
                assert await answer.read() == events("m")
    await until(lambda: is_idle(picker))


async def test_an_answer_that_streams_passes_event_by_event(
    backends: list[Backend], picker: PickerProcess, client: aiohttp.ClientSession
) -> None:
    read = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number in range(5):
            await response.write(b'data: {"model":"tuned","n":%d}\n\n' % number)
            await read.wait()
            read.clear()
        return response

    for backend in backends:
        backend.behave = stream
    async with client.post(CHAT, json={"model": "m", "stream": True}) as answer:
        for number in range(5):
            # The next one is not sent before this one has been read.
            piece = await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 10)
            assert piece == b'data: {"model":"m","n":%d}\n\n' % number
            read.set()
        assert await answer.read() == b""
    await until(lambda: is_idle(picker))


NAMELESS = (
    (b'{"model":"tuned"}', {"content-type": "text/plain"}),
    (b'{"model":"tuned"}', {"content-type": "application/json", "content-encoding": "strange"}),
    (b"", {"content-type": "application/json"}),
    (b'{"error":{"model":"tuned"}}', {"content-type": "application/json"}),
    (b'{"model":', {"content-type": "application/json; charset=utf-8"}),
)


async def test_an_answer_that_names_no_model_passes_as_it_is(
    backends: list[Backend], client: aiohttp.ClientSession
) -> None:
    for body, headers in NAMELESS:

        async def behave(
            _request: web.Request, body: bytes = body, headers: dict[str, str] = headers
        ) -> web.StreamResponse:
            return web.Response(status=404, body=body, headers=headers)

        for backend in backends:
            backend.behave = behave
        async with client.post(CHAT, json={"model": "m"}) as answer:
            assert (answer.status, await answer.read()) == (404, body)


async def test_no_body_of_an_answer_passes_through_the_picker_but_those_that_are_rewritten(
    plane: DataPlane, picker: PickerProcess
) -> None:
    async def messages() -> int:
        return await plane.stat("http.gateway.ext_proc.stream_msgs_sent")

    async with plane.client() as client:
        for asked, pieces_seen in (("plain", 0), ("m", 1), ("plain", 0)):
            for stream in (False, True):
                before = await messages()
                sent = {"model": asked, "stream": stream, "messages": []}
                async with client.post(CHAT, json=sent) as answer:
                    expected = events(asked) if stream else json.dumps(completion(asked)).encode()
                    assert await answer.read() == expected
                    assert answer.headers["x-asked"] == ("tuned" if asked == "m" else asked)
                    assert ("content-length" in answer.headers) == (asked == "plain" and not stream)
                await until(lambda: is_idle(picker))
                # Headers, body, and headers of the answer.
                assert (await messages() - before - 3 > 0) == bool(pieces_seen)
    assert await plane.stat("http.gateway.ext_proc.failure_mode_allowed") == 0


async def test_why_says_what_was_asked_for_what_served_and_by_which_rule(
    plane: DataPlane, picker: PickerProcess, tmp_path: Path
) -> None:
    async with plane.client() as client, client.post(CHAT, json={"model": "m"}, headers={"x-request-id": "id"}):
        pass
    await until(lambda: is_written(picker))
    command = (sys.executable, "-m", "argosy", "why", "id", "--file", str(tmp_path / "decisions.jsonl"))
    explaining = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    said = (await explaining.communicate())[0].decode()
    assert "It asks for model m, and tuned serves it: spec.rules[0] of InferenceModelRewrite default/rollout." in said


async def is_written(picker: PickerProcess) -> bool:
    return await picker.metric("argosy_decision_lines_total", result="written") == 1


async def test_a_rollout_moves_under_load_and_no_request_fails(plane: DataPlane, picker: PickerProcess) -> None:
    served: Counter[str] = Counter()
    answers: Counter[tuple[int, bool]] = Counter()

    async def ask(client: aiohttp.ClientSession, *, stream: bool) -> None:
        while True:
            async with client.post(CHAT, json={"model": "m", "stream": stream}) as answer:
                right = events("m") if stream else json.dumps(completion("m")).encode()
                answers[answer.status, await answer.read() == right] += 1
                served[answer.headers["x-asked"]] += 1

    async def goes_to(*targets: tuple[str, int], count: int) -> Counter[str]:
        await rewrite(plane, *targets)
        await until(lambda: served.clear() is None and changed(targets))
        served.clear()
        await until(lambda: served.total() >= count)
        return served.copy()

    async def changed(targets: tuple[tuple[str, int], ...]) -> bool:
        await until(lambda: served.total() >= 20)
        return set(served) <= {model for model, _ in targets}

    async with plane.client() as client:
        tasks = [asyncio.create_task(ask(client, stream=number % 2 == 0)) for number in range(6)]
        assert set(await goes_to(("v1", 1), count=20)) == {"v1"}
        split = await goes_to(("v1", 90), ("v2", 10), count=600)
        assert 0.03 < split["v2"] / split.total() < 0.2
        assert set(await goes_to(("v2", 1), count=20)) == {"v2"}
        await plane.store.delete(InferenceModelRewrite, Key("default", "rollout"))
        await until(lambda: served.clear() is None and changed((("m", 1),)))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert set(answers) == {(200, True)}
    assert await plane.stat("http.gateway.ext_proc.failure_mode_allowed") == 0
    assert await picker.metric(DECISIONS) == 0  # of what is gone


async def test_told_to_end_the_picker_names_models_to_the_end_of_answers(
    backends: list[Backend], picker: PickerProcess, client: aiohttp.ClientSession
) -> None:
    go_on = asyncio.Event()
    for backend in backends:
        backend.behave = waiting_for(go_on)
    asked = asyncio.create_task(read(client))
    await until(lambda: bool(begun(backends)))
    assert picker.process is not None
    picker.process.send_signal(15)
    await until(lambda: is_leaving(picker))
    go_on.set()
    assert await asked == b'data: {"model":"m"}\n\n' * 2
    assert await asyncio.wait_for(picker.process.wait(), 20) == 0


async def test_an_answer_goes_on_when_the_picker_is_killed(
    plane: DataPlane, backends: list[Backend], picker: PickerProcess
) -> None:
    go_on = asyncio.Event()
    for backend in backends:
        backend.behave = waiting_for(go_on)
    async with plane.client() as client, client.post(CHAT, json={"model": "m", "stream": True}) as answer:
        assert await answer.content.readuntil(b"\n\n") == b'data: {"model":"m"}\n\n'
        await picker.end(9)
        await until(lambda: fails_open(plane))
        go_on.set()
        # Nobody names the other model any more.
        assert await answer.read() == b'data: {"model":"tuned"}\n\n'


async def fails_open(plane: DataPlane) -> bool:
    return await plane.stat("http.gateway.ext_proc.failure_mode_allowed") > 0


async def is_leaving(picker: PickerProcess) -> bool:
    return await picker.get("/readyz") == 503


async def read(client: aiohttp.ClientSession) -> bytes:
    async with client.post(CHAT, json={"model": "m", "stream": True}) as answer:
        return await answer.read()


def begun(backends: list[Backend]) -> list[Any]:
    return [one for backend in backends for one in backend.requests if one[0].path == CHAT]


def waiting_for(go_on: asyncio.Event) -> Callable[[web.Request], Any]:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"model":"tuned"}\n\n')
        if request.path == CHAT:
            await go_on.wait()
        await response.write(b'data: {"model":"tuned"}\n\n')
        return response

    return stream
