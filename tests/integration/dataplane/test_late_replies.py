"""What Envoy makes of replies that take time: real Envoy, both transports, a script of sessions."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from argosy.api.names import DESTINATION, POOL_HEADER
from argosy.base.endpoint import Endpoint
from argosy.edge.rpc import ext_proc_grpc, ext_proc_http2
from argosy.edge.rpc.ext_proc import (
    Message,
    Phase,
    Proceed,
    Reply,
    RequestBody,
    RequestHeaders,
    ResponseHeaders,
    Say,
    Steer,
    Transport,
    Wait,
)
from argosy.edge.rpc.holding import Holding
from harness.dataplane import Backend, DataPlane, data_plane
from harness.waiting import until

CHAT = "/v1/chat/completions"
TRANSPORTS = {"http2": ext_proc_http2.serve_ext_proc, "grpcio": ext_proc_grpc.serve_ext_proc}


class Late:
    """A session that is silent at the body."""

    decided = settled = False

    def __init__(self, say: Say) -> None:
        self.say = say
        self.body: bytes | None = None
        self.closed = False
        self.served = ""

    @property
    def waiting(self) -> bool:
        return self.body is not None

    def receive(self, message: Message) -> Sequence[Reply]:
        match message:
            case RequestHeaders():
                return (Proceed(phase=Phase.REQUEST_HEADERS),)
            case RequestBody():
                self.body = message.body
                return ()
            case ResponseHeaders():
                self.served = message.served
                return (Proceed(phase=Phase.RESPONSE_HEADERS),)
            case _:
                return (Proceed(phase=Phase.RESPONSE_TRAILERS),)

    def close(self) -> None:
        self.closed = True


class LatePicker:
    """A picker of such sessions, in the order in which they came."""

    def __init__(self) -> None:
        self.sessions: list[Late] = []

    def open(self, _holding: Holding, _traceparent: str, say: Say) -> Late:
        self.sessions.append(Late(say))
        return self.sessions[-1]

    async def session(self, number: int) -> Late:
        """Give the session of a request once it has its body."""
        return await until(lambda: next(iter([late for late in self.sessions[number:] if late.body]), None))


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    async with data_plane(tmp_path) as plane:
        yield plane


@pytest.fixture
async def backends(plane: DataPlane) -> list[Backend]:
    await plane.publish_model("alpha")
    return [await plane.add_backend("alpha") for _ in range(3)]


@pytest.fixture(params=TRANSPORTS)
async def picker(plane: DataPlane, request: pytest.FixtureRequest) -> AsyncIterator[LatePicker]:
    transport: Transport = TRANSPORTS[request.param]
    picker = LatePicker()
    endpoint = Endpoint(plane.address(), 9002)
    server = await transport(str(endpoint), picker.open, ready=lambda: True)
    await plane.add_picker(endpoint)
    await plane.programmed()
    yield picker
    await server.drain(0.0)


async def _asked(plane: DataPlane) -> tuple[int, str | None]:
    async with plane.client() as client, client.post(CHAT, json={"model": "alpha"}) as answer:
        await answer.read()
        return answer.status, answer.headers.get("x-served-by")


def _steer(backend: Backend, body: bytes) -> Steer:
    headers = {POOL_HEADER: "default/alpha", DESTINATION: str(backend.endpoint), "content-length": str(len(body))}
    return Steer(
        phase=Phase.REQUEST_BODY,
        set_headers=tuple(headers.items()),
        remove_headers=(),
        destination=str(backend.endpoint),
        body=body,
    )


async def test_one_wait_outlasts_the_message_timeout_without_which_a_request_fails_open(
    plane: DataPlane, backends: list[Backend], picker: LatePicker
) -> None:
    """The request that fails open is the clock: it came later, so the other has waited for longer."""
    patient = asyncio.create_task(_asked(plane))
    late = await picker.session(0)
    late.say((Wait(timeout_s=60.0),))
    assert (await _asked(plane))[0] == 200
    assert await plane.stat("http.gateway.ext_proc.failure_mode_allowed") == 1
    assert not patient.done()
    body = b'{"model": "alpha", "kv_transfer_params": {"remote_block_ids": [1, 2]}}'
    late.say((_steer(backends[2], body),))
    assert await patient == (200, str(backends[2].endpoint))
    assert backends[2].requests[-1][1] == body
    await until(lambda: late.served == str(backends[2].endpoint))


async def test_a_client_that_leaves_a_request_that_waits_closes_its_session_at_once(
    plane: DataPlane, backends: list[Backend], picker: LatePicker
) -> None:
    leaving, staying = [asyncio.create_task(_asked(plane)) for _ in range(2)]
    sessions = [await picker.session(0), await picker.session(1)]
    for late in sessions:
        late.say((Wait(timeout_s=60.0),))
    leaving.cancel()
    # Less than the message timeout, which would close it too.
    await until(lambda: [late.closed for late in sessions].count(True) == 1, within_s=1)
    for late in sessions:
        late.say((_steer(backends[1], late.body or b""),))
    assert await staying == (200, str(backends[1].endpoint))
