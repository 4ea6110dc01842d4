"""Statuses of one pod on their way to the API server.

Rules of this file:

- The newest status goes; one that has been overtaken before it was sent is never sent.
- Nobody waits for the server: a status is wanted at once and sent when the server answers.
- The pod is named by its uid: a successor of the same name is never written to.
"""

import asyncio
from typing import Any

from argosy.api.kubernetes import Pod
from argosy.edge.kube.connection import AnsweredWith, Connection
from harness.node.calls import STRATEGIC, insist


class Reports:
    """Sends what is wanted; `run` for as long as the pod is there."""

    def __init__(self, connection: Connection, pod: Pod) -> None:
        self._connection = connection
        self._uid = pod.metadata.uid
        self._path = f"/api/v1/namespaces/{pod.key.namespace}/pods/{pod.key.name}"
        self._woken = asyncio.Event()
        self.wanted: dict[str, Any] | None = None
        self.sent_version = 0
        """The pod's resource version after our last write."""

    def want(self, status: dict[str, Any]) -> None:
        """Have this status written, soon."""
        if status != self.wanted:
            self.wanted = status
            self._woken.set()

    def again(self) -> None:
        """Have the last status written once more."""
        self._woken.set()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            await self._woken.wait()
            await self.send()

    async def send(self) -> None:
        """Send what is wanted now."""
        self._woken.clear()
        status = dict(self.wanted or {})
        for name in ("hostIPs", "podIPs"):  # lists that a patch would add to
            status[name] = [{"$patch": "replace"}, *status.get(name, ())]
        body = {"metadata": {"uid": self._uid}, "status": status}
        try:
            written = await insist(self._connection, "PATCH", f"{self._path}/status", body, STRATEGIC)
        except AnsweredWith as answer:
            if answer.status.code not in (404, 409):  # gone, or another of the same name
                raise
        else:
            self.sent_version = int(written["metadata"]["resourceVersion"])

    async def finish(self) -> None:
        """Tell the API server that no process is left, so that it removes the pod."""
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self._uid}}
        try:
            await insist(self._connection, "DELETE", self._path, body)
        except AnsweredWith as answer:
            if answer.status.code not in (404, 409):
                raise
