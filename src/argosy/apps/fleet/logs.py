"""Logs of a cluster's pods: all replicas of a service, a pod, or a component, line by line as they come.

Rules of this file:

- Following goes on for pods that come later; a pod whose container has not started yet is tried again.
- Nothing is kept: a line is shown before the next one is read.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Final, NamedTuple

import msgspec

from argosy.api.kubernetes import Pod
from argosy.api.names import COMPONENT, SERVICE_LABEL, SYSTEM_NAMESPACE, WORKERS_LABEL
from argosy.api.objects import Key
from argosy.apps.fleet.fleet import Fleet
from argosy.base.errors import CallerError, PeerError
from argosy.edge.kube.connection import AnsweredWith, Connection
from argosy.edge.kube.pod_proxy import LogOptions, log_lines
from argosy.edge.kube.port import StoreUnavailable, Withheld

LOOK_AGAIN_S: Final = 2.0


class Line(NamedTuple):
    """What a pod wrote; `note` says of words that they are ours, about its log."""

    pod: str
    text: bytes
    note: bool = False


def chosen(pods: Iterable[Pod], name: str | None, namespace: str | None) -> tuple[Pod, ...]:
    """Give the pods that a name means: a pod, a service, or a component; all of ours without a name.

    The name may carry its namespace (`NAMESPACE/NAME`), which goes before `namespace`; components are anywhere.
    """
    wanted = Key.parse(name or "")
    within = wanted.namespace or namespace
    found = []
    for pod in sorted(pods, key=lambda pod: pod.key):
        labels = pod.metadata.labels
        component = labels.get(COMPONENT) if pod.metadata.namespace == SYSTEM_NAMESPACE else None
        inside = within in (None, pod.metadata.namespace)
        service, workers = labels.get(SERVICE_LABEL), labels.get(WORKERS_LABEL)
        names = {pod.metadata.name, service, f"{service}-{workers}"} if inside else {None}
        names |= {component, pod.metadata.name} if component else set()
        ours = component is not None or (inside and SERVICE_LABEL in labels)
        if (wanted.name in names) if name else ours:
            found.append(pod)
    return tuple(found)


async def list_pods(fleet: Fleet) -> tuple[Pod, ...]:
    """Give the pods of the fleet's namespace and of the installation, as far as this user may read them."""
    pods = (await fleet.store.list(Pod, namespace=fleet.namespace)).items
    if fleet.namespace in (None, SYSTEM_NAMESPACE):
        return pods
    try:
        return (*pods, *(await fleet.store.list(Pod, namespace=SYSTEM_NAMESPACE)).items)
    except Withheld:
        return pods


async def show_logs(fleet: Fleet, name: str | None, options: LogOptions, show: Callable[[Line], None]) -> bool:
    """Hand every line of the chosen pods' logs to `show`; with `follow`, for ever. Say whether there was a pod.

    Raises `StoreUnavailable` when the first look fails; later ones are tried again.
    """
    if fleet.connection is None:
        raise CallerError("a laptop's logs are files")
    reader = _Reader(fleet.connection, options, show)
    pods = chosen(await list_pods(fleet), name, fleet.namespace)
    async with asyncio.TaskGroup() as group:
        reader.read(pods, group)
        while options.follow and pods:
            await asyncio.sleep(LOOK_AGAIN_S)
            with contextlib.suppress(StoreUnavailable):
                reader.read(chosen(await list_pods(fleet), name, fleet.namespace), group)
    return bool(pods)


class _Reader:
    """Reads each run of each container once, and one that has not begun again and again."""

    def __init__(self, connection: Connection, options: LogOptions, show: Callable[[Line], None]) -> None:
        self._connection = connection
        self._options = options
        self._show = show
        self._begun: set[tuple[str | None, str, int]] = set()
        self._noted: set[Line] = set()

    def read(self, pods: Iterable[Pod], group: asyncio.TaskGroup) -> None:
        """Begin to read what is not being read yet."""
        first = not self._begun
        for pod in pods:
            names = [container.name for container in pod.spec.containers]
            runs = {each.name: each.restart_count for each in pod.status.container_statuses}
            for container in names:
                run = (pod.metadata.uid, container, runs.get(container, 0))
                if run not in self._begun:
                    self._begun.add(run)
                    label = pod.metadata.name if len(names) == 1 else f"{pod.metadata.name}/{container}"
                    options = self._options if first else msgspec.structs.replace(self._options, tail=None)
                    group.create_task(self._read(pod, run, label, options))

    async def _read(self, pod: Pod, run: tuple[str | None, str, int], label: str, options: LogOptions) -> None:
        try:
            async with aclosing(log_lines(self._connection, pod.key, run[1], options)) as lines:
                async for line in lines:
                    self._show(Line(label, line))
        except PeerError as error:
            if isinstance(error, AnsweredWith) and error.status.code == 400:
                self._begun.discard(run)  # not started yet; or it has no run before this one
            note = Line(label, f"no log: {error}".encode(), note=True)
            if note not in self._noted:
                self._noted.add(note)
                self._show(note)
