"""The gateway app and Envoys: refusals, restarts, several Envoys, statuses."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from argosy.api.gateway import Gateway, GatewayClass, HTTPRoute
from argosy.api.inference import InferencePool
from argosy.api.names import ENGINE_PORT, SERVICE_LABEL
from argosy.api.objects import Key
from harness.dataplane import GATEWAY, DataPlane, data_plane
from harness.waiting import until

CHAT = "/v1/chat/completions"


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    async with data_plane(tmp_path) as plane:
        await plane.add_backend("alpha")
        await plane.publish_model("alpha")
        await plane.programmed()
        yield plane


async def _status(plane: DataPlane, model: str = "alpha") -> int:
    async with plane.client() as client, client.post(CHAT, json={"model": model}) as answer:
        await answer.read()
        return answer.status


async def test_statuses_say_that_all_is_in_force(plane: DataPlane) -> None:
    gateway = await plane.get(Gateway, GATEWAY)
    assert {c.type: c.status for c in gateway.status.conditions} == {"Accepted": "True", "Programmed": "True"}
    assert [listener.attached_routes for listener in gateway.status.listeners] == [3]  # the model, and two markers
    assert (await plane.get(GatewayClass, Key("", "argosy"))).status.conditions[0].status == "True"
    for kind in (HTTPRoute, InferencePool):
        (parent,) = (await plane.get(kind, Key("default", "alpha"))).status.parents
        assert {c.type: c.status for c in parent.conditions} == {"Accepted": "True", "ResolvedRefs": "True"}


async def test_a_port_in_use_becomes_a_sentence_of_status_and_heals(plane: DataPlane) -> None:
    with socket.socket() as squatter:
        squatter.bind((plane.bind_address, 8181))
        squatter.listen()
        await plane.listen(8181)

        async def is_refused() -> bool:
            return (await plane.condition("Programmed")).reason == "Invalid"

        await until(is_refused)
        condition = await plane.condition("Programmed")
        assert condition.status == "False"
        assert "envoy-0" in condition.message
        assert f"{plane.bind_address}:8181" in condition.message
    await plane.programmed()
    assert await _status(plane) == 200


async def test_endpoints_stay_live_while_a_listener_is_refused(plane: DataPlane) -> None:
    with socket.socket() as squatter:
        squatter.bind((plane.bind_address, 8181))
        squatter.listen()
        await plane.listen(8080, 8181)

        async def is_refused() -> bool:
            return (await plane.condition("Programmed")).reason == "Invalid"

        await until(is_refused)
        second = await plane.add_backend("alpha")

        async def is_served_by_second() -> bool:
            async with plane.client() as client, client.post(CHAT, json={"model": "alpha"}) as answer:
                return answer.headers.get("x-served-by") == str(second.endpoint)

        await until(is_served_by_second)


async def test_a_killed_envoy_is_served_again(plane: DataPlane) -> None:
    await plane.stop_envoy()

    async def is_pending() -> bool:
        return (await plane.condition("Programmed")).reason == "Pending"

    await until(is_pending)
    await plane.start_envoy()
    await plane.programmed()
    assert await _status(plane) == 200


async def test_envoy_serves_on_while_the_gateway_app_is_away_and_follows_it_afterwards(plane: DataPlane) -> None:
    await plane.stop_gateway()
    assert await _status(plane) == 200
    await plane.start_gateway()
    await plane.add_backend("beta")
    await plane.publish_model("beta")
    await plane.programmed()
    assert [await _status(plane, model) for model in ("alpha", "beta")] == [200, 200]


async def test_envoy_waits_for_nothing_when_clusters_changed_while_the_gateway_app_was_away(plane: DataPlane) -> None:
    pool = {"selector": {"matchLabels": {SERVICE_LABEL: "alpha"}}, "targetPorts": [{"number": ENGINE_PORT}]}
    metadata = {"namespace": "default", "name": "alpha"}
    await plane.apply(InferencePool, {"metadata": metadata, "spec": {**pool, "appProtocol": "kubernetes.io/h2c"}})
    await plane.programmed()
    assert await _status(plane) >= 500  # the backend speaks HTTP/1.1 alone
    await plane.stop_gateway()
    await plane.apply(InferencePool, {"metadata": metadata, "spec": pool})
    await plane.start_gateway()

    async def is_served() -> bool:
        return await _status(plane) == 200

    await until(is_served, within_s=10)  # Envoy gives up after 15 s


async def test_what_cannot_be_sent_is_said_in_the_status_and_leaves_envoy_as_it_is(plane: DataPlane) -> None:
    spec = {"selector": {"matchLabels": {SERVICE_LABEL: "alpha"}}, "targetPorts": [{"number": 2**40}]}
    await plane.apply(InferencePool, {"metadata": {"namespace": "default", "name": "odd"}, "spec": spec})
    rule = {"backendRefs": [{"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "odd"}]}
    await plane.publish_route("odd", [rule])

    async def is_said() -> bool:
        condition = await plane.condition("Programmed")
        return condition.reason == "Invalid" and str(2**40) in condition.message

    await until(is_said)
    assert await _status(plane) == 200
    await plane.store.delete(HTTPRoute, Key("default", "odd"))
    await plane.programmed()
    assert await _status(plane) == 200


async def test_models_that_leave_are_answered_503_and_others_go_on(plane: DataPlane) -> None:
    await plane.add_backend("beta")
    await plane.publish_model("beta")
    await plane.programmed()
    for kind in (HTTPRoute, InferencePool):
        await plane.store.delete(kind, Key("default", "beta"))
    await plane.programmed()
    assert [await _status(plane, model) for model in ("alpha", "beta")] == [200, 503]
    assert await plane.stat("cluster_manager.active_clusters") == 5  # two of the bootstrap, pickers, nowhere, alpha


async def test_every_envoy_of_a_gateway_is_heard(plane: DataPlane) -> None:
    async with plane.another_envoy("second"):  # cannot have the port, which the first listens on

        async def is_refused() -> bool:
            return "Envoy second" in (await plane.condition("Programmed")).message

        await until(is_refused)
        assert await _status(plane) == 200
    await plane.programmed()


async def test_sigterm_ends_the_gateway_verb_at_once(plane: DataPlane) -> None:
    command = ("gateway", "--xds-address", f"{plane.address()}:18000", "--bind-address", plane.bind_address)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "argosy",
        *command,
        env={**os.environ, "ARGOSY_STORE": plane.store_address},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    assert b"xDS" in await asyncio.wait_for(process.stdout.readline(), 20)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 5) == 0


@pytest.mark.parametrize("path", ["/", "/quitquitquit", "/config_dump", "/stats"])
async def test_the_stats_listener_passes_nothing_else_of_the_admin_interface_on(plane: DataPlane, path: str) -> None:
    async with aiohttp.ClientSession() as client:
        for method in ("GET", "POST"):
            async with client.request(method, f"http://{plane.stats}{path}") as answer:
                assert answer.status == 404
        async with client.get(f"http://{plane.stats}/stats/prometheus") as answer:
            assert "envoy_http_ext_proc_failure_mode_allowed" in await answer.text()
        async with client.get(f"http://{plane.stats}/healthz") as answer:
            assert answer.status == 200
            assert len(await answer.read()) < 100
