"""Several gateway controllers: all configure Envoys, one writes, and it knows of the others' Envoys."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from argosy.api.gateway import Gateway
from argosy.api.kubernetes import Deployment, Service
from argosy.api.names import XDS_PORT
from argosy.api.objects import Condition, Key
from argosy.apps.gateway.gateway import GatewayApp
from argosy.base.endpoint import Endpoint
from harness.dataplane import SYSTEM, DataPlane, Envoy, data_plane
from harness.waiting import until

SELECTOR = {"app": "gateway"}
NOW = "2026-01-01T00:00:00Z"


class Turns:
    """Two gateways, of which one leads."""

    def __init__(self, plane: DataPlane) -> None:
        self.leader = 0
        self.endpoints = tuple(Endpoint(plane.address(), XDS_PORT) for _ in range(2))
        self.apps = tuple(self._app(plane, number) for number in range(2))

    def _app(self, plane: DataPlane, number: int) -> GatewayApp:
        return GatewayApp(
            plane.store,
            plane.settings(),
            self.endpoints[number],
            now=lambda: NOW,
            leads=lambda: self.leader == number,
        )

    def turn_to(self, leader: int | None) -> None:
        self.leader = -1 if leader is None else leader
        for app in self.apps:
            app.look()

    async def add_to(self, plane: DataPlane) -> None:
        """Make their pods and their Service known."""
        for number, endpoint in enumerate(self.endpoints):
            await plane.add_pod(Key(SYSTEM, f"argosy-gateway-{number}"), SELECTOR, endpoint.address)
        metadata = {"namespace": SYSTEM, "name": "argosy-gateway"}
        ports = [{"port": XDS_PORT, "targetPort": XDS_PORT}]
        await plane.apply(Service, {"metadata": metadata, "spec": {"selector": SELECTOR, "ports": ports}})


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    async with data_plane(tmp_path) as plane:
        await plane.stop_envoy()
        await plane.stop_gateway()
        yield plane


@pytest.fixture
async def turns(plane: DataPlane) -> AsyncIterator[Turns]:
    turns = Turns(plane)
    running = []
    for app in turns.apps:
        await app.start()
        running.append(asyncio.create_task(app.run(random.Random(0))))
    try:
        yield turns
    finally:
        for task in running:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@contextlib.asynccontextmanager
async def envoy(plane: DataPlane, node: str, xds: Endpoint) -> AsyncIterator[Envoy]:
    admin, stats = Endpoint(plane.address(), 19000), Endpoint(plane.address(), 19001)
    running = Envoy(node, xds=xds, admin=admin, stats=stats, log=plane.folder / f"{node}.log")
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


async def has(plane: DataPlane, status: str, sentence: str) -> bool:
    found = await plane.condition("Programmed")
    return found.status == status and sentence in found.message


async def test_the_one_that_writes_knows_of_envoys_that_others_serve(plane: DataPlane, turns: Turns) -> None:
    await turns.add_to(plane)
    await until(lambda: has(plane, "False", "no Envoy is connected"))
    async with envoy(plane, "first", turns.endpoints[1]):
        await until(lambda: has(plane, "True", ""))
        # The same address again: the second Envoy cannot listen there, and only the second gateway hears of it.
        async with envoy(plane, "second", turns.endpoints[1]):
            await until(lambda: has(plane, "False", "Envoy second refuses its configuration"))
        await until(lambda: has(plane, "True", ""))


async def test_when_the_turn_changes_the_other_one_writes(plane: DataPlane, turns: Turns) -> None:
    await turns.add_to(plane)
    async with envoy(plane, "first", turns.endpoints[0]):
        await until(lambda: has(plane, "True", ""))
        turns.turn_to(None)
        await plane.listen(plane.port, plane.port + 1)
        turns.turn_to(1)

        async def two_listeners_are_in_force() -> bool:
            listeners = (await plane.get(Gateway, Key(SYSTEM, "argosy"))).status.listeners
            return len(listeners) == 2 and all(map(is_programmed, (each.conditions for each in listeners)))

        await until(two_listeners_are_in_force)


def is_programmed(conditions: tuple[Condition, ...]) -> bool:
    return any(each.type == "Programmed" and each.status == "True" for each in conditions)


async def test_nobody_writes_while_nobody_has_the_turn_and_envoys_are_configured_all_the_same(
    plane: DataPlane, turns: Turns
) -> None:
    turns.turn_to(None)
    await turns.add_to(plane)
    async with envoy(plane, "first", turns.endpoints[0]) as running:
        await until(running.is_ready)
        assert not (await plane.store.list(Deployment)).items
        turns.turn_to(0)

        async def are_made() -> bool:
            return bool((await plane.store.list(Deployment)).items)

        await until(are_made)
