"""A place where services run, opened: its objects, and what else it shows of its pods.

async with open_laptop(address, supervisor_pid=pid) as fleet: …
async with open_cluster(settings, namespace="default") as fleet: …
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from argosy.edge.kube.port import ObjectStore

if TYPE_CHECKING:
    from argosy.edge.http.pages import Pages
    from argosy.edge.kube.connection import Connection
    from argosy.edge.kube.kubeconfig import Settings


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """An open place. `namespace` is the one that a verb is about, None all of them.

    `connection` leads to the API server of a cluster; `supervisor_pid` is the process of a laptop's.
    """

    store: ObjectStore
    pages: "Pages"
    namespace: str | None = None
    connection: "Connection | None" = None
    supervisor_pid: int | None = None


@asynccontextmanager
async def open_laptop(
    address: str, *, supervisor_pid: int | None, namespace: str | None = None
) -> AsyncIterator[Fleet]:
    """Open the store of an instance."""
    from argosy.edge.http.pages import DirectPages  # noqa: PLC0415 (each place pays for its own way)
    from argosy.edge.kube.remote import RemoteStore  # noqa: PLC0415

    async with RemoteStore(address) as store, DirectPages() as pages:
        yield Fleet(store=store, pages=pages, namespace=namespace, supervisor_pid=supervisor_pid)


@asynccontextmanager
async def open_cluster(settings: "Settings", *, namespace: str | None) -> AsyncIterator[Fleet]:
    """Open a cluster's API server."""
    from argosy.edge.kube.api_server import KubernetesStore  # noqa: PLC0415
    from argosy.edge.kube.pod_proxy import ProxiedPages  # noqa: PLC0415

    async with KubernetesStore(settings) as store:
        connection = store.connection
        yield Fleet(store=store, pages=ProxiedPages(connection), namespace=namespace, connection=connection)
