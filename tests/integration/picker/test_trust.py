"""Whose words are believed: headers of clients on their way through a real Envoy, a picker and an engine."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import msgspec
import pytest

from argosy.api.gateway import Gateway
from argosy.api.inference import InferencePool
from argosy.api.names import (
    DESTINATION,
    EXPLAIN_HEADER,
    INPUT_HEADER_NAMES,
    INPUT_HEADERS,
    MODEL_HEADER,
    POOL_HEADER,
    STEERING_HEADERS,
    TRUSTED_INPUTS,
    TRUSTED_LISTENERS,
)
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from harness.dataplane import GATEWAY, Backend, DataPlane, data_plane
from harness.picker_process import picker_process
from harness.scripted_picker import ScriptedPicker, scripted_picker
from harness.waiting import until

CHAT = "/v1/chat/completions"
POOL = Key("default", "m")
TRUSTED, OPEN = 8080, 8181
INPUTS = dict.fromkeys(INPUT_HEADER_NAMES, "1")
STEERING = dict.fromkeys(STEERING_HEADERS, "127.0.0.1:1")


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    async with data_plane(tmp_path) as plane:
        await plane.listen(TRUSTED, OPEN)
        await plane.publish_model("m")
        await trust(plane, "on-8080")
        yield plane


@pytest.fixture
async def backend(plane: DataPlane) -> Backend:
    return await plane.add_backend("m")


async def trust(plane: DataPlane, listeners: str) -> None:
    gateway = await plane.get(Gateway, GATEWAY)
    await annotate(plane, gateway, TRUSTED_LISTENERS, listeners)


async def annotate(plane: DataPlane, obj: Gateway | InferencePool, name: str, value: str) -> None:
    metadata = {"namespace": obj.key.namespace, "name": obj.key.name, "annotations": {name: value}}
    spec = msgspec.to_builtins(obj.spec)
    await plane.apply(type(obj), {"metadata": metadata, "spec": spec})
    await plane.programmed()


@contextlib.asynccontextmanager
async def scripted(plane: DataPlane, backend: Backend) -> AsyncIterator[ScriptedPicker]:
    """Have a picker asked that removes nothing, so that what reaches an engine is Envoy's doing."""
    async with scripted_picker(Endpoint(plane.address(), 9002)) as picker:
        await plane.add_picker(picker.endpoint)
        await plane.programmed()
        picker.pool, picker.picks = POOL, [backend.endpoint]
        yield picker


async def ask(plane: DataPlane, port: int, headers: Mapping[str, str], words: str = "") -> str:
    """Ask; give who answers."""
    body = {"model": "m", "messages": [{"role": "user", "content": words}]}
    url = f"http://{plane.bind_address}:{port}{CHAT}"
    async with aiohttp.request("POST", url, json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return answer.headers["x-served-by"]


def received(backend: Backend) -> dict[str, str]:
    """Give the headers of the newest request that an engine got."""
    request = [request for request, _ in backend.requests if request.path == CHAT][-1]
    return {name.lower(): value for name, value in request.headers.items()}


async def test_headers_that_steer_reach_nobody_whoever_is_trusted(plane: DataPlane, backend: Backend) -> None:
    async with scripted(plane, backend) as picker:
        for port in (TRUSTED, OPEN):
            assert await ask(plane, port, STEERING) == str(backend.endpoint)
            assert not STEERING.keys() & picker.headers[-1].keys()
            # What the picker itself has written.
            assert STEERING.keys() & received(backend).keys() == {DESTINATION, POOL_HEADER}
            assert received(backend)[DESTINATION] == str(backend.endpoint)


async def test_inputs_reach_the_picker_at_a_trusted_listener_alone_and_never_an_engine(
    plane: DataPlane, backend: Backend
) -> None:
    async with scripted(plane, backend) as picker:
        for port, seen in ((TRUSTED, set(INPUTS)), (OPEN, set())):
            assert await ask(plane, port, INPUTS) == str(backend.endpoint)
            assert INPUTS.keys() & picker.headers[-1].keys() == seen
            assert not INPUTS.keys() & received(backend).keys()
        await trust(plane, "")

        async def is_over() -> bool:
            await ask(plane, TRUSTED, INPUTS)
            return not INPUTS.keys() & picker.headers[-1].keys()

        await until(is_over)


async def test_no_input_reaches_an_engine_while_no_picker_answers(plane: DataPlane, backend: Backend) -> None:
    await plane.programmed()
    for port in (TRUSTED, OPEN):
        assert await ask(plane, port, {**INPUTS, **STEERING}) == str(backend.endpoint)
        assert not (INPUTS | STEERING).keys() & received(backend).keys()


async def test_what_a_pool_believes_of_everybody_passes_an_open_listener_and_nothing_else(
    plane: DataPlane, backend: Backend
) -> None:
    await annotate(plane, await plane.get(InferencePool, POOL), TRUSTED_INPUTS, "session")
    async with scripted(plane, backend) as picker:
        assert await ask(plane, OPEN, INPUTS) == str(backend.endpoint)
        assert INPUTS.keys() & picker.headers[-1].keys() == set(INPUT_HEADERS["session"])
        assert not INPUTS.keys() & received(backend).keys()


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
async def test_a_session_is_kept_at_a_trusted_listener_and_not_at_an_open_one(
    plane: DataPlane, tmp_path: Path, transport: str
) -> None:
    backends = [await plane.add_backend("m") for _ in range(3)]
    options = ("--transport", transport)
    async with picker_process(plane.store_address, tmp_path, *options, address=plane.address()) as picker:
        await plane.add_picker(Endpoint.parse(picker.address))
        await plane.programmed()

        numbers = itertools.count()

        async def served_by(port: int) -> str:
            """Ask with a long prompt that nobody has seen: without a session it is whose turn it is."""
            words = f"{next(numbers)} " * 20_000
            headers = {"x-session-id": "s", "x-llm-d-inference-objective": "o", **STEERING}
            by = await ask(plane, port, headers, words)
            (found,) = [backend for backend in backends if str(backend.endpoint) == by]
            got = received(found)
            assert not {"x-session-id", "x-llm-d-inference-objective"} & got.keys()
            assert STEERING.keys() & got.keys() == {DESTINATION, POOL_HEADER, MODEL_HEADER}
            assert got[DESTINATION].startswith(by)
            return by

        assert len({await served_by(TRUSTED) for _ in range(4)}) == 1
        assert len({await served_by(OPEN) for _ in range(4)}) == len(backends)
        assert await picker.metric("argosy_picks_total") == 8
        assert await picker.metric("argosy_served_not_picked_total") == 0


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
async def test_a_decision_is_told_with_the_answer_to_whoever_may_ask_for_it(
    plane: DataPlane, backend: Backend, tmp_path: Path, transport: str
) -> None:
    options = ("--transport", transport)
    async with picker_process(plane.store_address, tmp_path, *options, address=plane.address()) as picker:
        await plane.add_picker(Endpoint.parse(picker.address))
        await plane.programmed()

        async def told(port: int, **headers: str) -> str | None:
            body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
            url = f"http://{plane.bind_address}:{port}{CHAT}"
            async with aiohttp.request("POST", url, json=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                assert await answer.read()
                return answer.headers.get(EXPLAIN_HEADER)

        asked = {EXPLAIN_HEADER: "1"}
        sentence = await told(TRUSTED, **asked)
        assert sentence is not None
        assert sentence.startswith(f"{backend.endpoint} was picked: no other endpoint of pool {POOL} could serve.")
        assert sentence.endswith("Profile default.")
        assert await told(OPEN, **asked) is None
        assert await told(TRUSTED) is None
        assert EXPLAIN_HEADER not in received(backend)
