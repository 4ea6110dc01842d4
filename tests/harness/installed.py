"""Argosy on a test cluster with nodes, as its users install it and remove it."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

from argosy.api.names import SYSTEM_NAMESPACE
from harness.control_plane import ControlPlane
from harness.waiting import wait_for

READY_S = 150


@contextlib.contextmanager
def installation(cluster: ControlPlane, *options: str) -> Iterator[str]:
    """Run `argosy install`, and `argosy uninstall` when the block ends; gives the Gateway's URL."""
    argosy("install", cluster, *options)
    try:
        yield wait_for(lambda: gateway_url(cluster), "the Gateway gets no address", within_s=60)
    finally:
        argosy("uninstall", cluster, "--with-services")


def argosy(verb: str, cluster: ControlPlane, *options: str) -> str:
    """Run a verb as the cluster's admin, and give what it printed."""
    command = (sys.executable, "-m", "argosy", verb, "--kubeconfig", str(cluster.kubeconfig), *options)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def gateway_url(cluster: ControlPlane) -> str:
    """Give where the installation's Gateway is reached, or nothing while it has no address."""
    gateway = json.loads(cluster.kubectl("get", "gateway", "argosy", "-n", SYSTEM_NAMESPACE, "--output=json"))
    addresses = gateway.get("status", {}).get("addresses", ())
    return f"http://{addresses[0]['value']}:{gateway['spec']['listeners'][0]['port']}" if addresses else ""


def rolled_out(cluster: ControlPlane, namespace: str, deployment: str) -> None:
    """Wait until a Deployment is there and all its pods are new and ready."""
    what = ("get", "deployment", deployment, f"--namespace={namespace}", "--ignore-not-found", "--output=json")

    def ready() -> bool:
        found = json.loads(cluster.kubectl(*what) or "{}")
        status, wanted = found.get("status", {}), found.get("spec", {}).get("replicas")
        numbers = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas")]
        return numbers == [wanted] * 3 and status["observedGeneration"] == found["metadata"]["generation"]

    wait_for(ready, f"Deployment {namespace}/{deployment} is not ready", within_s=READY_S)
