"""The address of an object store, as a command line or an environment variable has it → the store.

unix:///PATH            a laptop's, on a socket
kubeconfig:///PATH      an API server's, as that file says
in-cluster              that of the cluster whose pod this is
"""

import contextlib
from pathlib import Path

from argosy.base.errors import UserError
from argosy.edge.kube.port import ObjectStore
from argosy.edge.kube.remote import RemoteStore

KUBECONFIG = "kubeconfig://"
IN_CLUSTER = "in-cluster"
FORMS = "unix:///PATH, kubeconfig:///PATH or in-cluster"


def store_at(
    address: str, *, cluster_host: str | None = None, cluster_port: str | None = None
) -> contextlib.AbstractAsyncContextManager[ObjectStore]:
    """Give the store at an address, to be entered. Raises `UserError` for an address of another form.

    `cluster_host` and `cluster_port` are what Kubernetes gives every pod as KUBERNETES_SERVICE_HOST and _PORT.
    """
    if address.startswith("unix://"):
        return RemoteStore(address)
    # What follows costs a laptop's processes memory that they need not have.
    from argosy.edge.kube.api_server import KubernetesStore  # noqa: PLC0415
    from argosy.edge.kube.connection import settings_in_cluster, settings_of_kubeconfig  # noqa: PLC0415

    if address == IN_CLUSTER:
        if not cluster_host or not cluster_port:
            raise UserError("store in-cluster: this process is in no pod; give kubeconfig:///PATH")
        return KubernetesStore(settings_in_cluster(host=cluster_host, port=cluster_port))
    path = address.removeprefix(KUBECONFIG)
    if path == address or not path.startswith("/"):
        raise UserError(f"store {address!r}: it must be {FORMS}")
    return KubernetesStore(settings_of_kubeconfig(Path(path)))
