"""Real engines behind a real Envoy and picker, and somebody who spoils a KV cache between them: what is said of it."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from argosy.api.disaggregation import ANNOTATION
from argosy.api.inference import InferencePool
from argosy.api.names import (
    DECODE_ROLE,
    KV_LAYOUT_LABEL,
    LEG_HEADER,
    MOVED_HEADER,
    PREFILL_ROLE,
    ROLE_LABEL,
    SERVICE_LABEL,
)
from argosy.api.objects import Key
from argosy.apps.engine.kv_header import encode_header
from argosy.base.endpoint import Endpoint
from argosy.edge.transfer.wire import reply
from harness.dataplane import Backend, DataPlane, starting_data_plane
from harness.engine import MODEL, Engine
from harness.kv import PATH, kv_engine, pulled, scripted_sender
from harness.picker_process import PickerProcess, picker_process

PORT = 8000
Change = Callable[[bytes], bytes]


def whole(state: bytes) -> bytes:
    return state


def cut(state: bytes) -> bytes:
    return state[: len(state) // 2]


def flipped(state: bytes) -> bytes:
    return state[:-1000] + bytes([state[-1000] ^ 1]) + state[-999:]


class Spoiler:
    """A prefill worker's pod: a real engine's answers, whose states come from somebody else, changed."""

    def __init__(self, engine: Engine, change: Change, senders: contextlib.AsyncExitStack) -> None:
        self._engine = engine
        self._change = change
        self._senders = senders
        self.prompt_tokens = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            async with self._engine.http.get(request.path) as page:
                return web.Response(body=await page.read())
        status, said = await self._engine.post(request.path, await request.read())
        self.prompt_tokens = said["usage"]["prompt_tokens"]
        header, state = await pulled(said["kv_transfer_params"])
        sender = scripted_sender(reply(encode_header(header)), self._change(state))
        said["kv_transfer_params"]["remote_host"] = await self._senders.enter_async_context(sender)
        return web.json_response(said, status=status)


async def add_worker(plane: DataPlane, role: str, address: str) -> None:
    labels = {SERVICE_LABEL: MODEL, ROLE_LABEL: role, KV_LAYOUT_LABEL: "a"}
    await plane.add_pod(Key("default", role), labels, address)


@contextlib.asynccontextmanager
async def split(plane: DataPlane, folder: Path, change: Change) -> AsyncIterator[tuple[PickerProcess, Spoiler]]:
    """Serve the model by one decode worker, and one prefill worker whose states are spoiled."""
    for name in ("first", "second"):
        (folder / name).mkdir()
    await plane.publish_model(MODEL)
    metadata = {"namespace": "default", "name": MODEL, "annotations": {ANNOTATION: json.dumps({"thresholdTokens": 50})}}
    pool = {"selector": {"matchLabels": {SERVICE_LABEL: MODEL}}, "targetPorts": [{"number": PORT}]}
    await plane.apply(InferencePool, {"metadata": metadata, "spec": pool})
    async with (
        kv_engine("--kv-folder", str(folder / "first")) as first,
        kv_engine("--kv-folder", str(folder / "second")) as second,
        contextlib.AsyncExitStack() as senders,
        picker_process(plane.store_address, folder, address=plane.address()) as picker,
    ):
        spoiler = Spoiler(first, change, senders)
        backend = Backend(PREFILL_ROLE, Endpoint(plane.address(), PORT))
        backend.behave = spoiler.answer
        await backend.start()
        plane.backends.append(backend)
        await add_worker(plane, PREFILL_ROLE, backend.endpoint.address)
        await add_worker(plane, DECODE_ROLE, second.address)
        await plane.add_picker(Endpoint.parse(picker.address))
        await plane.programmed()
        yield picker, spoiler


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("change", "outcome", "words"),
    [
        (whole, "moved", "{rest} of {tokens} moved, and the decode worker computed 1"),
        (
            cut,
            "cut_off",
            "the state did not arrive, as the connection broke, and the decode worker",
        ),
        (flipped, "damaged", "the state did not arrive, as it was damaged, and the decode worker"),
    ],
)
async def test_why_says_what_became_of_a_state_and_clients_do_not_see_it(
    tmp_path: Path, change: Change, outcome: str, words: str, *, is_streamed: bool
) -> None:
    body: dict[str, Any] = {"model": MODEL, "prompt": "The ship sails. " * 40, "max_tokens": 4, "stream": is_streamed}
    async with starting_data_plane(tmp_path) as plane, split(plane, tmp_path, change) as (picker, spoiler):
        async with plane.client() as client, client.post(PATH, json=body) as answer:
            assert answer.status == 200
            assert {MOVED_HEADER, LEG_HEADER}.isdisjoint(answer.headers)
            request = answer.headers["x-request-id"]
            assert await answer.read()
        async with picker.page(f"/debug/decisions/{request}") as page:
            explained = await page.json()
        tokens = spoiler.prompt_tokens
        said = words.format(rest=tokens - 1, tokens=tokens)
        assert f" computed the prompt, {tokens} tokens, in " in explained["sentence"]
        assert f" s; {said}" in explained["sentence"]
        assert explained["prefill"]["transfer"] == outcome
        pool = f"default/{MODEL}"
        assert await picker.metric("argosy_prefill_transfers_total", pool=pool, outcome=outcome) == 1
