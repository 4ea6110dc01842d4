"""The Node object of a node, and the Lease that says that it lives.

Rules of this file:

- A Lease is renewed every `RENEW_S`; the controller-manager calls a node NotReady when that has stopped for long.
- The Node's status is looked at as often, and written anew where somebody else has changed what it says of being ready.
- Only an InternalIP is published, so that the API server reaches the node's endpoint for logs by it.
"""

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any, Final

from argosy.edge.kube.connection import AnsweredWith, Connection
from harness.node.calls import MERGE, STRATEGIC, found, insist
from harness.node.setting import NodeSetting

PORT: Final = 10250
RENEW_S: Final = 10
LEASE_S: Final = 40
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


async def stay_registered(connection: Connection, node: NodeSetting, *, now: Callable[[], str]) -> None:
    """Say for ever that the node is there and well."""
    while True:
        if not _is_ready(await found(connection, f"/api/v1/nodes/{node.name}")):
            await register(connection, node, now=now())
        await keep_lease(connection, node)
        await asyncio.sleep(RENEW_S)


async def register(connection: Connection, node: NodeSetting, *, now: str) -> None:
    """Make the Node object, or take the one that is there, and say that it is ready."""
    wanted = node_object(node)
    try:
        await insist(connection, "POST", "/api/v1/nodes", wanted)
    except AnsweredWith as answer:
        if answer.status.code != 409:
            raise
        metadata = {"metadata": wanted["metadata"]}
        await insist(connection, "PATCH", f"/api/v1/nodes/{node.name}", metadata, MERGE)
    status = {"status": node_status(node, now=now)}
    await insist(connection, "PATCH", f"/api/v1/nodes/{node.name}/status", status, STRATEGIC)


async def keep_lease(connection: Connection, node: NodeSetting) -> None:
    """Renew the Lease, or make it."""
    spec = {"holderIdentity": node.name, "leaseDurationSeconds": LEASE_S, "renewTime": _now_exactly()}
    try:
        await insist(connection, "PATCH", f"{_LEASES}/{node.name}", {"spec": spec}, MERGE)
    except AnsweredWith as answer:
        if answer.status.code != 404:
            raise
        metadata = {"name": node.name}
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        await insist(connection, "POST", _LEASES, lease)


def node_object(node: NodeSetting) -> dict[str, Any]:
    """Give the Node, status aside."""
    labels = {
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        **node.labels,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        "spec": {"podCIDR": f"{node.pod_range}.0/24", "podCIDRs": [f"{node.pod_range}.0/24"]},
    }


def node_status(node: NodeSetting, *, now: str) -> dict[str, Any]:
    """Give the status of a node that is well."""
    pressures = (("MemoryPressure", "False"), ("DiskPressure", "False"), ("PIDPressure", "False"), ("Ready", "True"))
    times = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    return {
        "addresses": [{"type": "InternalIP", "address": node.address}],
        "capacity": node.all_resources,
        "allocatable": node.all_resources,
        "conditions": [{"type": kind, "status": value, "reason": "NodeIsWell", **times} for kind, value in pressures],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": PORT}},
        "nodeInfo": {
            "architecture": "amd64",
            "operatingSystem": "linux",
            "kubeletVersion": "v1.36.3",
            "kubeProxyVersion": "",
            "containerRuntimeVersion": "process://1",
            "osImage": "Processes of this machine",
            "kernelVersion": "",
            "machineID": node.name,
            "systemUUID": node.name,
            "bootID": node.name,
        },
    }


def _is_ready(node: Any) -> bool:
    conditions = node["status"].get("conditions", ()) if node else ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _now_exactly() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
