"""Models are asked at the Gateway's own address where it answers, through the API server elsewhere."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from aiohttp import web

from argosy.api.gateway import Gateway, GatewayAddress, GatewaySpec, GatewayStatus, Listener
from argosy.api.objects import ObjectMeta, encode
from argosy.apps.fleet.fleet import Fleet, open_cluster
from argosy.apps.fleet.model_api import models, open_model_api
from argosy.base.errors import NotNow, PeerError
from argosy.cli import main
from argosy.edge.http.model_api import ApiAnswer, DirectApi, ModelApi
from argosy.edge.http.pages import DirectPages
from argosy.edge.kube.memory import InMemoryStore
from harness.api_answers import answering_api

TUNNEL = "/api/v1/namespaces/argosy-system/services/argosy-envoy:8080/proxy/v1"
STREAM = [
    b'data: {"choices": [{"delta": {"role": "assistant"}}]}\n\nda',
    b'ta: {"choices": [{"delta": {"content": "Ships"}}]}\n',
    b'data: {"choices": [{"delta": {"content": ", many."}}]}\n\ndata: [DONE]\n\n',
]


class Server:
    """An API server and, under its proxy and at its root, a gateway."""

    def __init__(self) -> None:
        self.address: str | None = None
        self.port = 8080
        self.failure: tuple[int, object] | None = None
        self.asked: list[str] = []

    def gateway(self) -> Gateway:
        addresses = (GatewayAddress(value=self.address),) if self.address else ()
        listeners = (Listener(name="http", port=self.port, protocol="HTTP"),)
        return Gateway(
            metadata=ObjectMeta(name="argosy", namespace="argosy-system"),
            spec=GatewaySpec(gateway_class_name="argosy", listeners=listeners),
            status=GatewayStatus(addresses=addresses),
        )

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "gateways" in request.path:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [encode(self.gateway())]})
        self.asked.append(request.path)
        if self.failure is not None:
            status, said = self.failure
            return web.json_response(said, status=status)
        if request.path.endswith("/models"):
            return web.json_response({"data": [{"id": "m"}, {"id": "n"}]})
        assert (await request.json())["stream"] is True
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in STREAM:
            await response.write(piece)
        return response


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def fleet(server: Server, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with (
        answering_api(tmp_path, server.answer) as settings,
        open_cluster(settings, namespace="default") as opened,
    ):
        yield opened


async def read(api: ModelApi) -> bytes:
    async with aclosing(api.pieces("POST", "/chat/completions", b'{"stream": true}')) as pieces:
        return b"".join([piece async for piece in pieces])


def port_of(fleet: Fleet) -> int:
    assert fleet.connection is not None
    return int(str(fleet.connection._client.base_url).rpartition(":")[2].strip("/"))


async def test_an_address_that_answers_is_asked_itself(fleet: Fleet, server: Server) -> None:
    server.address, server.port = "127.0.0.1", port_of(fleet)
    async with open_model_api(fleet) as api:
        assert api.way == f"http://127.0.0.1:{server.port}/v1"
        assert await models(api) == ("m", "n")
        assert await read(api) == b"".join(STREAM)
    assert set(server.asked) == {"/v1/models", "/v1/chat/completions"}


@pytest.mark.parametrize("address", [None, "127.0.0.1"])
async def test_without_an_address_or_an_answer_the_api_server_passes_requests_on(
    fleet: Fleet, server: Server, address: str | None
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        server.address = address
        if address:
            server.port = nobody.getsockname()[1]
        tunnel = TUNNEL.replace("8080", str(server.port))
        async with open_model_api(fleet) as api:
            assert "through the API server" in api.way
            assert await models(api) == ("m", "n")
            assert await read(api) == b"".join(STREAM)
    assert server.asked == [f"{tunnel}/models", f"{tunnel}/chat/completions"]


async def test_what_answers_at_the_address_and_is_no_gateway_is_not_believed(fleet: Fleet, server: Server) -> None:
    server.address, server.port = "127.0.0.1", port_of(fleet)
    server.failure = (200, {"kind": "Something", "else": 1})
    async with open_model_api(fleet) as api:
        assert "through the API server" in api.way
        with pytest.raises(PeerError, match="lists no models"):
            await models(api)


async def test_the_gateways_refusal_and_the_api_servers_are_told_apart(fleet: Fleet, server: Server) -> None:
    async with open_model_api(fleet) as api:
        server.failure = (404, {"error": {"message": "no such model"}})
        with pytest.raises(ApiAnswer, match="no such model") as refusal:
            await read(api)
        assert refusal.value.status == 404
        status = {"kind": "Status", "code": 503, "reason": "ServiceUnavailable", "message": "no endpoints"}
        server.failure = (503, status)
        with pytest.raises(PeerError, match="no endpoints") as refused:
            await read(api)
        assert not isinstance(refused.value, ApiAnswer)


async def test_without_a_gateway_there_is_nothing_to_ask() -> None:
    store = InMemoryStore(now=lambda: "t", new_uid=lambda: "u")
    with pytest.raises(NotNow, match="no Gateway"):
        async with open_model_api(Fleet(store=store, pages=DirectPages())):
            pass


async def test_an_api_that_is_away_or_says_no(server: Server, tmp_path: Path) -> None:
    async with DirectApi("http://127.0.0.1:1/v1") as api:
        with pytest.raises(PeerError, match=r"127\.0\.0\.1:1/v1 does not answer"):
            await read(api)
    server.failure = (500, "broken")
    async with (
        answering_api(tmp_path, server.answer) as settings,
        DirectApi(f"{settings.config.cluster.server}/v1") as api,
    ):
        with pytest.raises(ApiAnswer, match='500: "broken"'):
            await read(api)


async def test_chat_on_a_cluster_says_which_way_it_goes(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with answering_api(tmp_path, server.answer):
        code = await asyncio.to_thread(main, ["chat", "--kubeconfig", str(tmp_path / "config"), "What?"])
    printed = capsys.readouterr()
    assert code == 0
    assert printed.out == "Ships, many.\n"
    assert printed.err == ("argosy: asking at Service argosy-system/argosy-envoy, port 8080, through the API server\n")
