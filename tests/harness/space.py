"""A namespace of a test's own on the test cluster, and objects for it."""

import http.client
import json
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from harness.control_plane import ControlPlane
from harness.nodes import Image, Nodes
from harness.waiting import wait_for

PROGRAM = str(Path(__file__).with_name("pod_program.py"))
PORT = 80
ANY = "test/any:1"
"""An image that is the machine's own programs: a container of it says its command."""


class Space:
    """A namespace, and what a test does in it."""

    def __init__(self, cluster: ControlPlane, nodes: Nodes) -> None:
        self.cluster = cluster
        self.name = f"test-{uuid.uuid4().hex[:8]}"
        nodes.add_images({ANY.partition(":")[0]: Image()})
        cluster.kubectl("create", "namespace", self.name)
        wait_for(lambda: self.find("serviceaccount", "default"), "the namespace got no ServiceAccount")

    def kubectl(self, *args: str) -> str:
        """Run kubectl in it."""
        return self.cluster.kubectl(f"--namespace={self.name}", *args)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects in it."""
        whole = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.cluster.kubectl(f"--namespace={self.name}", "apply", "-f", "-", stdin=json.dumps(whole))

    def get(self, kind: str, name: str) -> Any:
        """Give an object."""
        return json.loads(self.kubectl("get", kind, name, "-ojson"))

    def find(self, kind: str, name: str) -> Any:
        """Give an object, or None."""
        found = self.kubectl("get", kind, name, "-ojson", "--ignore-not-found")
        return json.loads(found) if found else None

    def pods(self, selector: str = "") -> list[Any]:
        """Give pods by a label selector."""
        return list(json.loads(self.kubectl("get", "pods", "-ojson", f"--selector={selector}"))["items"])

    def ready(self, name: str) -> "Program":
        """Wait until a pod is ready; give the program in it."""
        self.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=30s")
        return Program(self.get("pod", name)["status"]["podIP"])

    def events(self, name: str) -> list[tuple[str, str]]:
        """Give reason and message of the Events about an object."""
        found = json.loads(self.kubectl("get", "events", f"--field-selector=involvedObject.name={name}", "-ojson"))
        return [(each["reason"], each["message"]) for each in found["items"]]


class Program:
    """The program of `pod_program.py` at an address."""

    def __init__(self, address: str, port: int = PORT) -> None:
        self.address = address
        self.port = port

    def ask(self, question: str, **parameters: str) -> Any:
        """Ask it something. Raises `OSError` when it does not answer."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=10)
        try:
            connection.request("GET", f"/{question}?{urlencode(parameters)}")
            answer = connection.getresponse()
            said = json.loads(answer.read())
        finally:
            connection.close()
        assert answer.status == 200, said
        return said

    def answers(self) -> bool:
        """Say whether it answers."""
        try:
            self.ask("peer")
        except (OSError, http.client.HTTPException):
            return False
        return True


def program(**fields: Any) -> dict[str, Any]:
    """Give a container that runs `pod_program.py`; it is ready when it answers."""
    return {
        "name": "main",
        "image": ANY,
        "command": [sys.executable, PROGRAM, str(PORT)],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/peer", "port": "http"}, "periodSeconds": 1},
        **fields,
    }


def script(text: str, **fields: Any) -> dict[str, Any]:
    """Give a container that runs a shell script."""
    return {"name": "main", "image": ANY, "command": ["sh", "-c", text], **fields}


def pod_spec(*containers: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Give the spec of a pod."""
    return {"containers": list(containers), "terminationGracePeriodSeconds": 2, **fields}


def pod(name: str, *containers: dict[str, Any], labels: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    """Give a pod."""
    metadata = {"name": name, "labels": labels or {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec(*containers, **fields)}


def deployment(name: str, *containers: dict[str, Any], replicas: int = 1, **fields: Any) -> dict[str, Any]:
    """Give a Deployment; `fields` are its pods'."""
    template = {"metadata": {"labels": {"app": name}}, "spec": pod_spec(*containers, **fields)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


def service(name: str, *, port: int = 8080, **fields: Any) -> dict[str, Any]:
    """Give a Service of the pods with the label `app` of its name."""
    ports = [{"name": "http", "port": port, "targetPort": "http"}]
    spec = {"selector": {"app": name}, "ports": ports, **fields}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def config_map(name: str, **data: str) -> dict[str, Any]:
    """Give a ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def secret(name: str, **data: str) -> dict[str, Any]:
    """Give a Secret."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
