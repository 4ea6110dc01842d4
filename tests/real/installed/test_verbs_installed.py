"""Verbs against a whole cluster: installed by `argosy install`, with nodes, Gateway, Envoys, pickers and engines."""

import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from argosy.api.objects import Key
from argosy.apps.fleet.model_api import models
from argosy.edge.kube.connection import Connection, settings_of_kubeconfig
from argosy.edge.kube.pod_proxy import ProxiedApi
from harness.control_plane import ControlPlane
from harness.nodes import Nodes
from harness.user import Finished, User
from harness.waiting import until


@pytest.fixture
def user(cluster: ControlPlane, tmp_path: Path) -> User:
    return User(cluster, "default", tmp_path)


@pytest.fixture
async def serving(user: User, nodes: Nodes) -> User:
    """A user whose service serves; what is there already is not made anew."""
    assert nodes is not None
    installed = await user.argosy("install", "--timeout", "150", namespace=False)
    assert installed.code == 0, installed
    applied = await user.argosy("apply", user.file(), "--wait", "--timeout", "120")
    assert applied.code == 0, applied
    return user


@pytest.mark.timeout(400)
async def test_a_service_that_serves_is_proved_to_by_a_token(serving: User) -> None:
    async def proved() -> Finished | None:
        found = await serving.argosy("why-not", "smol")
        return found if found.code == 0 else None

    found = await until(proved, within_s=60)
    assert "smol serves: a token came in" in found.out, found
    assert "✗" not in found.out
    for part in ("envoy", "picker"):
        assert f"2 of 2 {part} pods are ready." in found.out
    assert (await serving.argosy("why-not", "default/smol")).code == 0  # the model's name, which looks like a key


@pytest.mark.timeout(400)
async def test_status_knows_the_counts_of_pickers_and_envoys_through_the_api_server(serving: User) -> None:
    assert (await serving.argosy("chat", "--max-tokens", "4", "Hello")).out.strip()
    status: dict[str, Any] = json.loads((await serving.argosy("status", "--json")).out)
    assert status["unseen"] == []
    assert status["gateway"]["programmed"]
    assert status["gateway"]["url"].startswith("http://10.")
    assert status["gateway"]["picks"] > 0
    assert status["gateway"]["fail_opens"] is not None
    assert status["services"][0]["requests"] > 0
    names = {part["name"] for part in status["components"]}
    assert names == {"operator", "gateway", "picker", "envoy"}
    assert all(part["ready"] and part["node"] for part in status["components"])
    columns = await serving.kubectl("get", "llm")
    assert "Settled" in columns
    assert status["gateway"]["url"] in columns


@pytest.mark.timeout(400)
async def test_a_conversation_goes_to_the_gateway_where_it_answers_and_else_through_the_api_server(
    serving: User, cluster: ControlPlane
) -> None:
    chat = await serving.argosy("chat", "--max-tokens", "6", "Say", "hello.")
    assert chat.code == 0, chat
    assert chat.out.strip()
    assert chat.err.startswith("argosy: asking at http://10.")
    body = {"model": "default/smol", "stream": True, "max_tokens": 6, "messages": [{"role": "user", "content": "Hi"}]}
    async with Connection(settings_of_kubeconfig(cluster.kubeconfig)) as connection:
        api = ProxiedApi(connection, Key("argosy-system", "argosy-envoy"), 8080)
        assert await models(api) == ("default/smol",)
        async with aclosing(api.pieces("POST", "/chat/completions", json.dumps(body).encode())) as pieces:
            streamed = [piece async for piece in pieces]
    assert len(streamed) > 1  # it comes as it is written
    assert b"data: [DONE]" in b"".join(streamed)


@pytest.mark.timeout(400)
async def test_a_request_is_explained_through_the_api_server_by_whichever_picker_had_it(serving: User) -> None:
    url = json.loads((await serving.argosy("status", "--json")).out)["gateway"]["url"]
    async with aiohttp.ClientSession() as client:
        body = {"model": "default/smol", "prompt": "Hello", "max_tokens": 1}
        async with client.post(f"{url}/completions", json=body) as answer:
            assert answer.status == 200
            request = answer.headers["x-request-id"]
    explained = json.loads((await serving.argosy("why", request, "--json")).out)
    assert explained["request"] == request
    assert explained["outcome"].startswith("answered by ")
    unknown = await serving.argosy("why", "nobody-asked")
    assert unknown.code == 1
    assert "no picker remembers request nobody-asked" in unknown.err
    assert "not all could be asked" not in unknown.err


@pytest.mark.timeout(400)
async def test_logs_of_components_and_replicas_are_told_apart(serving: User) -> None:
    for component in ("operator", "gateway", "picker", "envoy"):
        found = await serving.argosy("logs", component, "--tail", "3")
        assert found.code == 0, found
        # An Envoy or a picker without trouble may have written nothing.
        assert all(f"{component}-" in line for line in found.out.splitlines()), found
    everything = await serving.argosy("logs", "--tail", "1")
    assert "smol-" in everything.out
    assert "argosy-operator-" in everything.out
