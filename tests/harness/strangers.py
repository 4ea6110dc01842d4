"""What somebody else runs on a test cluster, for Argosy to serve: Deployments, pools and routes of their own making."""

import sys
from pathlib import Path
from typing import Any

from argosy.api.names import SYSTEM_NAMESPACE
from harness.nodes import Image

ENGINE_IMAGE = "somebody/engine"
ENGINE_PORT = 9999
ENGINE = Image(argv=(sys.executable, str(Path(__file__).with_name("adopted_engine.py"))), user=65532)


def engine_objects(name: str, *, replicas: int, picker: bool) -> list[dict[str, Any]]:
    """Give a Deployment of somebody's engine and a pool over it, which names the pickers or no picker."""
    labels = {"app": name}
    container = {
        "name": "engine",
        "image": f"{ENGINE_IMAGE}:7",
        "args": [str(ENGINE_PORT)],
        "readinessProbe": {"httpGet": {"path": "/", "port": ENGINE_PORT}, "periodSeconds": 1},
        # As anybody does whose pods must not cut requests: unready first, gone later.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "2"]}}},
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    pool: dict[str, Any] = {"selector": {"matchLabels": labels}, "targetPorts": [{"number": ENGINE_PORT}]}
    if picker:
        pool["endpointPickerRef"] = {"name": "argosy-picker", "port": {"number": 9002}, "failureMode": "FailOpen"}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "inference.networking.k8s.io/v1",
            "kind": "InferencePool",
            "metadata": {"name": name},
            "spec": pool,
        },
    ]


def route(name: str, path: str, *, gateway: str = "argosy", namespace: str = SYSTEM_NAMESPACE) -> dict[str, Any]:
    """Give a route by path alone to the pool of its name."""
    backend = {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": name}
    rule = {"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": [backend]}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {"parentRefs": [{"name": gateway, "namespace": namespace}], "rules": [rule]},
    }
