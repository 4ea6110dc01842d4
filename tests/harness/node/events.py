"""What a kubelet tells people in Events: which ones follow from a change of a pod's status, and how they are sent.

Rules of this file:

- Events are a courtesy: one that cannot be sent at once is dropped, and the same one is not repeated within `SAME_S`.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from argosy.api.kubernetes import ContainerStatus, Pod, PodStatus
from argosy.edge.kube.connection import AnsweredWith, Connection
from argosy.edge.kube.port import StoreUnavailable

SAME_S = 60.0
_PROBES = {
    "it is not ready: ": "Readiness probe failed: ",
    "it has not started yet: ": "Startup probe failed: ",
    "startup probe failed: ": "Startup probe failed: ",
    "liveness probe failed: ": "Liveness probe failed: ",
}
_WAITS = {
    "ErrImagePull": "Failed",
    "CreateContainerConfigError": "Failed",
    "CannotRun": "Failed",
    "CrashLoopBackOff": "BackOff",
}


class Told(NamedTuple):
    """One Event to be."""

    kind: str
    """Normal or Warning."""
    reason: str
    message: str


def told(before: PodStatus, after: PodStatus) -> Iterator[Told]:
    """Give what a change of status is worth telling."""
    known = {each.name: each for each in (*before.init_container_statuses, *before.container_statuses)}
    for status in (*after.init_container_statuses, *after.container_statuses):
        yield from _of_container(known.get(status.name), status)
    if not after.container_statuses and after.message:
        yield Told("Warning", "FailedMount", after.message)
    said = next((condition.message for condition in after.conditions if condition.type == "Ready"), "")
    for sentence in said.split("; container "):
        _, _, why = sentence.partition(": ")
        for begins, says in _PROBES.items():
            if why.startswith(begins):
                yield Told("Warning", "Unhealthy", says + why.removeprefix(begins))


def _of_container(before: ContainerStatus | None, after: ContainerStatus) -> Iterator[Told]:
    state = before.state if before else {}
    running = after.state.get("running")
    if running and running != state.get("running"):
        yield Told("Normal", "Started", f"Started container {after.name}")
    waiting = after.state.get("waiting", {})
    reason = _WAITS.get(waiting.get("reason", ""))
    if reason and waiting != state.get("waiting"):
        told_why = f"Back-off restarting failed container {after.name}" if reason == "BackOff" else waiting["message"]
        yield Told("Warning", reason, told_why)


class Events:
    """Sends Events about the pods of one node."""

    def __init__(self, connection: Connection, node: str, *, now: Callable[[], str]) -> None:
        self._connection = connection
        self._node = node
        self._now = now
        self._sent: dict[tuple[str | None, Told], float] = {}
        self._numbers = itertools.count()
        self._sending: set[asyncio.Task[None]] = set()

    def tell(self, pod: Pod, what: Told) -> None:
        """Send an Event about a pod, soon, unless it has just been sent."""
        time, key = asyncio.get_running_loop().time(), (pod.metadata.uid, what)
        self._sent = {old: sent for old, sent in self._sent.items() if time - sent < SAME_S}
        if key in self._sent:
            return
        self._sent[key] = time
        task = asyncio.create_task(self._send(pod, what))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, pod: Pod, what: Told) -> None:
        now = self._now()
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{pod.key.name}.{self._node}.{next(self._numbers):x}.{pod.metadata.uid}"},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": pod.key.namespace,
                "name": pod.key.name,
                "uid": pod.metadata.uid,
            },
            "type": what.kind,
            "reason": what.reason,
            "message": what.message[:1000],
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": "kubelet", "host": self._node},
        }
        try:
            await self._connection.call("POST", f"/api/v1/namespaces/{pod.key.namespace}/events", {}, body=body)
        except (AnsweredWith, StoreUnavailable):
            return
