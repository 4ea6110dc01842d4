"""The Events about one pod, which the API server selects: a namespace may have thousands."""

from typing import Final

from argosy.api.coordination import Event
from argosy.api.kubernetes import Pod
from argosy.edge.kube.answers import page_of
from argosy.edge.kube.connection import Connection
from argosy.edge.kube.refusals import reading
from argosy.edge.kube.resource import path

MOST: Final = 100


async def events_about(connection: Connection, pod: Pod) -> tuple[Event, ...]:
    """Give a pod's Events, the oldest first. Raises `StoreUnavailable`, of which `Withheld` is one."""
    params = {"fieldSelector": f"involvedObject.uid={pod.metadata.uid}", "limit": str(MOST)}
    with reading(Event):
        page = page_of(Event, await connection.content(path(Event, pod.metadata.namespace), params))
        return tuple(
            sorted(page.items or (), key=lambda event: event.last_timestamp or event.metadata.creation_timestamp or "")
        )
