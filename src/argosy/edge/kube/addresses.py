"""The address of an object store, as a command line or an environment variable has it → the store.

unix:///PATH            a laptop's, on a socket
kubeconfig:///PATH      an API server's, as that file says
in-cluster              that of the cluster whose pod this is
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from argosy.base.errors import UserError
from argosy.edge.kube.port import ObjectStore
from argosy.edge.kube.remote import RemoteStore

if TYPE_CHECKING:
    from argosy.edge.kube.kubeconfig import Settings

KUBECONFIG = "kubeconfig://"
IN_CLUSTER = "in-cluster"
FORMS = "unix:///PATH, kubeconfig:///PATH or in-cluster"


def store_at(
    address: str,
    *,
    cluster_host: str | None = None,
    cluster_port: str | None = None,
    may_write: Callable[[], bool] | None = None,
) -> contextlib.AbstractAsyncContextManager[ObjectStore]:
    """Give the store at an address, to be entered. Raises `UserError` for an address of another form.

    `cluster_host` and `cluster_port` are what Kubernetes gives every pod as KUBERNETES_SERVICE_HOST and _PORT.
    `may_write` is asked before each write to an API server; a laptop's store has one writer.
    """
    if address.startswith("unix://"):
        return RemoteStore(address)
    # What follows costs a laptop's processes memory that they need not have.
    from argosy.edge.kube.api_server import KubernetesStore  # noqa: PLC0415

    return KubernetesStore(cluster_settings(address, cluster_host=cluster_host, cluster_port=cluster_port), may_write)


def cluster_settings(address: str, *, cluster_host: str | None, cluster_port: str | None) -> "Settings":
    """Give the way to the API server at an address that is not a laptop's. Raises `UserError`."""
    from argosy.edge.kube.connection import settings_in_cluster, settings_of_kubeconfig  # noqa: PLC0415

    if address == IN_CLUSTER:
        if not cluster_host or not cluster_port:
            raise UserError("store in-cluster: this process is in no pod; give kubeconfig:///PATH")
        return settings_in_cluster(host=cluster_host, port=cluster_port)
    path = address.removeprefix(KUBECONFIG)
    if path == address or not path.startswith("/"):
        raise UserError(f"store {address!r}: it must be {FORMS}")
    return settings_of_kubeconfig(Path(path))
