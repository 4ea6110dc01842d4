"""Prefill legs of the picker's process behind a real Envoy, with small backends in the engines' place."""

import asyncio
import itertools
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from argosy.api.disaggregation import ANNOTATION
from argosy.api.inference import InferencePool
from argosy.api.names import (
    DECODE_ROLE,
    ENGINE_PORT,
    KV_LAYOUT_LABEL,
    MOVED_HEADER,
    PREFILL_ROLE,
    ROLE_LABEL,
    SERVICE_LABEL,
)
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from harness.dataplane import Backend, DataPlane, starting_data_plane
from harness.foreign_gateway import foreign_gateway
from harness.picker_process import PickerProcess, picker_process
from harness.waiting import until

CHAT = "/v1/chat/completions"
PARAMS = {"do_remote_prefill": True, "remote_host": "127.0.0.1", "remote_port": 5600, "remote_request_id": "x"}
_prompts = itertools.count()


class Pair:
    """A decode and a prefill worker, each a backend that keeps what it is asked."""

    def __init__(self, decode: Backend, prefill: Backend) -> None:
        self.decode = decode
        self.prefill = prefill
        self.hold = asyncio.Event()
        self.hold.set()
        self.cancelled = 0
        self.status = 200
        prefill.behave = self._prefill

    def bodies(self, backend: Backend) -> list[dict[str, Any]]:
        return [json.loads(body) for request, body in backend.requests if request.path == CHAT]

    async def _prefill(self, request: web.Request) -> web.StreamResponse:
        if request.path != CHAT:
            return web.Response(text="vllm:num_requests_running 0\n")
        left = asyncio.create_task(until(lambda: request.transport is None or request.transport.is_closing()))
        await asyncio.wait([left, waits := asyncio.create_task(self.hold.wait())], return_when=asyncio.FIRST_COMPLETED)
        self.cancelled += left.done()
        for task in (left, waits):
            task.cancel()
        return web.json_response({"kv_transfer_params": PARAMS, "usage": {"prompt_tokens": 999}}, status=self.status)


async def publish(plane: DataPlane, **policy: Any) -> None:
    await plane.publish_model("m")
    metadata = {"namespace": "default", "name": "m", "annotations": {ANNOTATION: json.dumps(policy)}}
    pool = {"selector": {"matchLabels": {SERVICE_LABEL: "m"}}, "targetPorts": [{"number": ENGINE_PORT}]}
    await plane.apply(InferencePool, {"metadata": metadata, "spec": pool})


async def add_worker(plane: DataPlane, role: str) -> Backend:
    backend = Backend(role, Endpoint(plane.address(), ENGINE_PORT))
    await backend.start()
    plane.backends.append(backend)
    labels = {SERVICE_LABEL: "m", ROLE_LABEL: role, KV_LAYOUT_LABEL: "a"}
    await plane.add_pod(Key("default", f"{role}-{backend.endpoint.address}"), labels, backend.endpoint.address)
    return backend


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    async with starting_data_plane(tmp_path) as plane:
        yield plane


@pytest.fixture
async def pair(plane: DataPlane) -> Pair:
    await publish(plane, prefillTimeoutSeconds=20)
    return Pair(await add_worker(plane, DECODE_ROLE), await add_worker(plane, PREFILL_ROLE))


@pytest.fixture(params=["http2", "grpcio"])
async def picker(
    request: pytest.FixtureRequest, plane: DataPlane, pair: Pair, tmp_path: Path
) -> AsyncIterator[PickerProcess]:
    options = ("--transport", request.param)
    async with picker_process(plane.store_address, tmp_path, *options, address=plane.address()) as picker:
        await plane.add_picker(Endpoint.parse(picker.address))
        await plane.programmed()
        assert pair
        yield picker


def long_prompt(**more: Any) -> dict[str, Any]:
    """Give a body whose prompt nobody has seen."""
    content = f"{next(_prompts)} " + "word " * 1000
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


async def ask(client: aiohttp.ClientSession, body: dict[str, Any]) -> tuple[int, str]:
    async with client.post(CHAT, json=body) as answer:
        await answer.read()
        return answer.status, answer.headers.get("x-served-by", "")


async def test_the_decode_worker_gets_the_request_and_where_the_prefill_worker_keeps_its_state(
    plane: DataPlane, picker: PickerProcess, pair: Pair
) -> None:
    body = long_prompt(stream=True, max_tokens=7, stream_options={"include_usage": True})
    async with plane.client() as client:
        assert await ask(client, body) == (200, str(pair.decode.endpoint))
        assert await ask(client, {**body, "messages": [{"role": "user", "content": "Hi"}]}) == (
            200,
            str(pair.decode.endpoint),
        )
    (prefill,) = pair.bodies(pair.prefill)
    assert (prefill["max_tokens"], prefill["stream"], "stream_options" in prefill) == (1, False, False)
    assert prefill["messages"] == body["messages"]
    first, second = pair.bodies(pair.decode)
    assert first == {**body, "kv_transfer_params": PARAMS}
    assert "kv_transfer_params" not in second, "a short prompt is not worth a leg"
    assert await picker.metric("argosy_prefill_legs_total", pool="default/m", outcome="done") == 1
    assert await picker.metric("argosy_prefill_legs_under_way") == 0


async def test_a_leg_longer_than_a_message_may_take_keeps_its_request(
    plane: DataPlane, picker: PickerProcess, pair: Pair
) -> None:
    pair.hold.clear()
    async with plane.client() as client, asyncio.TaskGroup() as group:
        asked = group.create_task(ask(client, long_prompt()))
        await until(lambda: len(pair.bodies(pair.prefill)) == 1)
        loop = asyncio.get_running_loop()
        loop.call_later(4.0, pair.hold.set)  # the proxy's own patience is 2 s
        assert (await asked)[0] == 200
    (decode,) = pair.bodies(pair.decode)
    assert decode["kv_transfer_params"] == PARAMS
    assert await plane.stat("http.gateway.ext_proc.failure_mode_allowed") == 0
    assert picker


async def test_a_client_that_leaves_takes_its_prefill_along(
    plane: DataPlane, picker: PickerProcess, pair: Pair
) -> None:
    pair.hold.clear()
    async with plane.client() as client:
        asked = asyncio.create_task(ask(client, long_prompt()))
        await until(lambda: len(pair.bodies(pair.prefill)) == 1)
        asked.cancel()
        await until(lambda: pair.cancelled == 1)
    assert await picker.metric("argosy_prefill_legs_total", pool="default/m", outcome="cancelled") == 1
    assert pair.bodies(pair.decode) == []


@pytest.mark.parametrize("fault", ["refused", "error", "no_params"])
async def test_a_prefill_that_fails_is_computed_by_the_decode_worker(
    plane: DataPlane, picker: PickerProcess, pair: Pair, fault: str
) -> None:
    body = long_prompt()
    if fault == "refused":
        await pair.prefill.stop()
    elif fault == "error":
        pair.status = 500
    else:
        pair.prefill.behave = None
    async with plane.client() as client:
        assert await ask(client, body) == (200, str(pair.decode.endpoint))
    assert pair.bodies(pair.decode) == [body]
    assert await picker.metric("argosy_prefill_legs_total", pool="default/m", outcome=fault) == 1


@pytest.mark.parametrize(
    ("moved", "outcome", "words"),
    [
        ("998", "moved", "998 of 999 moved, and the decode worker computed 1"),
        (
            "damaged",
            "damaged",
            "the state did not arrive, as it was damaged, and the decode worker",
        ),
        (None, "untold", "whether the state arrived, the engine of the decode worker does not tell"),
    ],
)
async def test_what_the_answer_says_of_the_state_is_explained_and_counted_and_no_client_sees_it(
    plane: DataPlane, picker: PickerProcess, pair: Pair, moved: str | None, outcome: str, words: str
) -> None:
    said = {} if moved is None else {MOVED_HEADER: moved}

    async def decode(_request: web.Request) -> web.StreamResponse:
        return web.json_response({}, headers=said)

    pair.decode.behave = decode
    async with plane.client() as client, client.post(CHAT, json=long_prompt()) as answer:
        assert answer.status == 200
        assert MOVED_HEADER not in answer.headers
        request = answer.headers["x-request-id"]
    async with picker.page(f"/debug/decisions/{request}") as page:
        explained = await page.json()
    assert f"{pair.prefill.endpoint} computed the prompt, 999 tokens, in " in explained["sentence"]
    assert words in explained["sentence"]
    assert explained["prefill"]["transfer"] == outcome
    assert await picker.metric("argosy_prefill_transfers_total", pool="default/m", outcome=outcome) == 1


async def test_a_picker_killed_during_a_leg_leaves_the_prompt_to_the_decode_worker(
    plane: DataPlane, picker: PickerProcess, pair: Pair
) -> None:
    pair.hold.clear()
    body = long_prompt()
    async with plane.client() as client, asyncio.TaskGroup() as group:
        asked = group.create_task(ask(client, body))
        await until(lambda: len(pair.bodies(pair.prefill)) == 1)
        await picker.end(signal.SIGKILL)
        assert (await asked)[0] == 200
    assert pair.bodies(pair.decode) == [body]
    await until(lambda: pair.cancelled == 1)


async def test_a_picker_told_to_end_waits_for_its_legs(plane: DataPlane, picker: PickerProcess, pair: Pair) -> None:
    pair.hold.clear()
    async with plane.client() as client, asyncio.TaskGroup() as group:
        asked = group.create_task(ask(client, long_prompt()))
        await until(lambda: len(pair.bodies(pair.prefill)) == 1)
        ended = group.create_task(picker.end())
        pair.hold.set()
        assert (await asked)[0] == 200
        await ended
    (decode,) = pair.bodies(pair.decode)
    assert decode["kv_transfer_params"] == PARAMS


async def test_a_threshold_changes_while_the_picker_runs(plane: DataPlane, picker: PickerProcess, pair: Pair) -> None:
    async with plane.client() as client:
        await publish(plane, thresholdTokens=100_000)

        async def stays() -> bool:
            before = len(pair.bodies(pair.prefill))
            assert (await ask(client, long_prompt()))[0] == 200
            return len(pair.bodies(pair.prefill)) == before

        await until(stays)
    assert await picker.metric("argosy_disaggregation_verdicts_total", pool="default/m", verdict="below_threshold")


async def test_no_client_says_where_an_engine_reads_its_cache(
    plane: DataPlane, picker: PickerProcess, pair: Pair
) -> None:
    async with plane.client() as client:
        assert (await ask(client, long_prompt(kv_transfer_params=PARAMS)))[0] == 400
    assert pair.bodies(pair.decode) == []
    assert picker


async def test_a_gateway_that_sends_bodies_in_chunks_gets_the_changed_body_back_in_chunks(
    plane: DataPlane, picker: PickerProcess, pair: Pair, tmp_path: Path
) -> None:
    body = long_prompt(user="x" * 200_000)
    at, pods = Endpoint.parse(picker.address), [pair.decode.endpoint, pair.prefill.endpoint]
    async with foreign_gateway(tmp_path, at, pods, address=plane.address()) as gateway, gateway.client() as client:
        assert await ask(client, body) == (200, str(pair.decode.endpoint))
        pair.hold.clear()
        asked = asyncio.create_task(ask(client, long_prompt()))
        await until(lambda: len(pair.bodies(pair.prefill)) == 2)
        asked.cancel()
        await until(lambda: pair.cancelled == 1)
    assert pair.bodies(pair.decode) == [{**body, "kv_transfer_params": PARAMS}]
    await until(lambda: is_idle(picker))


async def is_idle(picker: PickerProcess) -> bool:
    return (await picker.metric("argosy_reservations"), await picker.metric("argosy_prefill_legs_under_way")) == (0, 0)
