"""A node's agent: registers the node, and runs the pods that are bound to it.

Rules of this file:

- A pod is known by its uid. One that the API server no longer has is killed; one that is being deleted ends within its
  grace, and then the API server is told.
- Level-triggered: each pass begins from all pods of the node, so a missed event costs nothing.
- An address is given to no second pod until all others of the node have been.
"""

import asyncio
import contextlib
import datetime as dt
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from argosy.api.kubernetes import ConfigMap, Pod, Secret, Service
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.cache import Cache
from argosy.edge.kube.connection import Connection, settings_of_kubeconfig
from harness.node.events import Events
from harness.node.logs import serve_logs
from harness.node.pod import Machine, NodePod
from harness.node.pod_network import PodNetworks
from harness.node.registration import register, stay_registered
from harness.node.setting import NodeSetting


def rfc3339_now() -> str:
    """Give the time as Kubernetes writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def run_node(node: NodeSetting) -> None:
    """Be a node until cancelled."""
    settings = settings_of_kubeconfig(Path(node.kubeconfig))
    store = KubernetesStore(settings, fields={Pod: f"spec.nodeName={node.name}"})
    async with (
        Connection(settings) as connection,
        store,
        Cache(store, (Pod, Service, ConfigMap, Secret), rng=random.Random()) as cache,
        asyncio.TaskGroup() as group,
    ):
        networks = PodNetworks(f"n{node.index}p")
        events = Events(connection, node.name, now=rfc3339_now)
        machine = Machine(
            node=node, connection=connection, cache=cache, networks=networks, events=events, now=rfc3339_now
        )
        agent = Agent(machine, group)
        await cache.synced()
        async with serve_logs(node, agent.pod_named):
            await register(connection, node, now=rfc3339_now())
            group.create_task(stay_registered(connection, node, now=rfc3339_now))
            await agent.run()


class Agent:
    """Runs the pods of one node as tasks of `group`."""

    def __init__(self, machine: Machine, group: asyncio.TaskGroup) -> None:
        self._machine = machine
        self._group = group
        self._pods: dict[str, NodePod] = {}
        self._addresses: dict[str, str] = {}
        self._row = _row(machine.node.pod_range)

    async def run(self) -> None:
        """Follow the API server's pods for ever."""
        seen = 0
        while True:
            seen = await self._machine.cache.changed(seen)
            self._sync()

    def pod_named(self, namespace: str, name: str) -> NodePod | None:
        """Give a pod of this node."""
        return next((pod for pod in self._pods.values() if pod.pod.key == (namespace, name)), None)

    def _sync(self) -> None:
        wanted = {str(pod.metadata.uid): pod for pod in self._machine.cache.all(Pod)}
        for uid, running in self._pods.items():
            if uid not in wanted:
                running.vanish()
        for uid, pod in wanted.items():
            if uid not in self._pods:
                self._pods[uid] = made = NodePod(pod, self._machine, self._address(pod))
                self._group.create_task(self._live(uid, made), name=f"pod {pod.key}")
            self._pods[uid].note(pod)

    async def _live(self, uid: str, pod: NodePod) -> None:
        try:
            await pod.run()
        finally:
            del self._pods[uid]
            self._addresses.pop(uid, None)
            shutil.rmtree(self._machine.logs_of(pod.pod), ignore_errors=True)

    def _address(self, pod: Pod) -> str:
        if pod.spec.host_network:
            return self._machine.node.address
        taken = set(self._addresses.values())
        address = next(each for each in self._row if each not in taken)
        self._addresses[str(pod.metadata.uid)] = address
        return address


def _row(pod_range: str) -> Iterator[str]:
    """Give the addresses of a range, again and again."""
    while True:
        yield from (f"{pod_range}.{number}" for number in range(2, 255))


async def run_until_stopped(node: NodeSetting, stopped: asyncio.Event) -> None:
    """Be a node until the event is set; its pods' processes then end with this one."""
    running = asyncio.create_task(run_node(node))
    stop = asyncio.create_task(stopped.wait())
    await asyncio.wait({running, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
