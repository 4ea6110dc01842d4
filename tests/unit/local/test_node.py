"""The node: what keeps a pod from starting is said, and tried again."""

import asyncio
import os
import signal
import socket
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from argosy.api.containers import Container
from argosy.api.kubernetes import Pod, PodSpec
from argosy.api.objects import Key, ObjectMeta
from argosy.apps.local import node as node_module
from argosy.apps.local.deployments import NODE
from argosy.apps.local.node import Machine, Node, taken_port
from argosy.apps.local.state import StateDirectory
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.processes.pods import LocalCommand
from harness.waiting import until

POD = Pod(
    metadata=ObjectMeta(name="m-0", namespace="default"),
    spec=PodSpec(node_name=NODE, containers=(Container(name="c", image="sleeper"),)),
)
SLEEPER = LocalCommand(argv=(sys.executable, "-c", "import signal; signal.pause()"))


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A port of pods that another program holds on all addresses."""
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        monkeypatch.setattr(node_module, "POD_PORTS", (listener.getsockname()[1],))
        yield listener


def test_a_port_held_on_all_addresses_is_found(held: socket.socket, tmp_path: Path) -> None:
    assert taken_port(StateDirectory(tmp_path)) == held.getsockname()[1]
    held.close()
    assert taken_port(StateDirectory(tmp_path)) is None


async def test_a_pod_without_an_address_says_so_and_starts_when_there_is_one(
    held: socket.socket, tmp_path: Path
) -> None:
    state = StateDirectory(tmp_path)
    state.prepare()
    store = InMemoryStore(now=lambda: "2026-01-01T00:00:00Z", new_uid=lambda: str(uuid.uuid4()))
    pod = await store.apply(POD, owner="test")
    machine = Machine(state=state, commands={"sleeper": SLEEPER}, environment={})
    async with asyncio.TaskGroup() as group:
        node = Node(store, machine, group, now=lambda: "2026-01-01T00:00:00Z", woken=lambda: None)
        assert await node.sync([pod], (), (), share=1)
        assert "no loopback address" in (await read(store)).status.conditions[0].message
        held.close()
        assert not await node.sync([pod], (), (), share=1)
        await until(lambda: is_ready(store))
        await node.stop_all()


STUBBORN = """
import signal
waited = (signal.SIGTERM, signal.SIGUSR1)
signal.pthread_sigmask(signal.SIG_BLOCK, waited)
for number in waited:
    signal.sigwait((number,))
"""


async def test_a_pod_that_is_to_go_is_there_until_its_process_has_ended(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.prepare()
    store = InMemoryStore(now=lambda: "2026-01-01T00:00:00Z", new_uid=lambda: str(uuid.uuid4()))
    pod, unstarted = [await store.apply(each, owner="test") for each in (POD, named("m-1"))]
    command = LocalCommand(argv=(sys.executable, "-c", STUBBORN))
    machine = Machine(state=state, commands={"sleeper": command}, environment={})
    async with asyncio.TaskGroup() as group:
        node = Node(store, machine, group, now=lambda: "2026-01-01T00:00:00Z", woken=lambda: None)
        await node.sync([pod], (), (), share=1)
        await until(lambda: is_ready(store))
        for each in (pod, unstarted):
            await store.end(Pod, each.key, uid=each.metadata.uid)
        await node.sync((await store.list(Pod)).items, (), (), share=1)
        assert [each.key.name for each in (await store.list(Pod)).items] == ["m-0"], "the other never ran"
        leaving = await read(store)
        assert leaving.metadata.deletion_timestamp is not None
        await node.sync([leaving], (), (), share=1)
        pid = leaving.status.container_statuses[0].state["running"]["pid"]
        os.kill(pid, signal.SIGUSR1)
        await until(lambda: is_empty(store))


async def is_empty(store: InMemoryStore) -> bool:
    return not (await store.list(Pod)).items


def named(name: str) -> Pod:
    return msgspec.structs.replace(POD, metadata=ObjectMeta(name=name, namespace="default"))


async def read(store: InMemoryStore) -> Pod:
    return next(pod for pod in (await store.list(Pod)).items if pod.key == Key("default", "m-0"))


async def is_ready(store: InMemoryStore) -> bool:
    return (await read(store)).ready
