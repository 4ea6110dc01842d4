"""Nodes for a control plane: agents that run Pods as processes, and what routes and names Services.

    with control_plane(folder) as cluster, running_nodes(cluster, count=3) as nodes, cluster.network.inside():
        nodes.add_images({"web": Image(argv=("python3", "-m", "http.server", "80"))})
        …  # kubectl, pods and ClusterIPs work here; nodes["node-1"].kill() is a machine that loses its power

Rules of this file:

- Each node is a process tree of its own, tied to this process: nothing of it outlives the test, or a `kill`.
- Images may be added while nodes run: a pod that starts afterwards sees them.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from argosy.edge.processes import launcher
from harness.control_plane import ControlPlane
from harness.network import API_ADDRESS, NAME_SERVER, SERVICE_RANGE, ip
from harness.node import first_process
from harness.node.setting import Image, NodeSetting, write_whole
from harness.waiting import wait_for

STOP_S = 20
READY_S = 30
NONROOT = 65532
_ROUTING = {"ip_forward": "1", "conf/all/send_redirects": "0", "conf/default/send_redirects": "0"}
_TESTS = Path(__file__).resolve().parents[1]


class NodeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One node to be; `resources` go over the default ones and may be extended ones (`nvidia.com/gpu`)."""

    name: str
    labels: Mapping[str, str] = {}
    resources: Mapping[str, str] = {}


def cannot_run_reason() -> str | None:
    """Say why no nodes can run here, though a control plane may, or None."""
    if shutil.which("nft") is None:
        return "the command nft is needed (Debian: nftables)"
    return None


def argosy_images() -> dict[str, Image]:
    """Give Argosy's own images, as programs of this checkout."""
    verbs = {"operator": "operator", "gateway": "gateway", "picker": "picker", "envoy": "envoy"}
    verbs["engine-llama.cpp"] = "engine"
    return {
        f"argosy/{name}": Image(argv=(sys.executable, "-m", "argosy", verb), user=NONROOT)
        for name, verb in verbs.items()
    }


@contextlib.contextmanager
def running_nodes(
    cluster: ControlPlane,
    *,
    count: int = 3,
    specs: Iterable[NodeSpec] = (),
    images: Mapping[str, Image] | None = None,
) -> Iterator["Nodes"]:
    """Run nodes until the block ends: those of `specs`, or `count` plain ones; Argosy's images are always there."""
    given = tuple(specs) or tuple(NodeSpec(name=f"node-{number}") for number in range(1, count + 1))
    nodes = Nodes(cluster, given, {**argosy_images(), **(images or {})})
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.stop()


class Nodes:
    """The nodes of one cluster, by name."""

    def __init__(self, cluster: ControlPlane, specs: tuple[NodeSpec, ...], images: Mapping[str, Image]) -> None:
        self._cluster = cluster
        self._folder = cluster.folder / "nodes"
        self._images = dict(images)
        self._services: subprocess.Popen[bytes] | None = None
        self._nodes = {spec.name: Node(self._setting(spec, index), cluster) for index, spec in enumerate(specs, 1)}

    def __getitem__(self, name: str) -> "Node":
        return self._nodes[name]

    def __iter__(self) -> Iterator["Node"]:
        return iter(self._nodes.values())

    def add_images(self, images: Mapping[str, Image]) -> None:
        """Make images known, or other than they were, for pods that start from now on."""
        self._images |= images
        write_whole(self._folder / "images.json", self._images)

    @contextlib.contextmanager
    def one_more(self, spec: NodeSpec) -> Iterator["Node"]:
        """Run one more node until the block ends; then the cluster loses it and its pods."""
        node = self._nodes[spec.name] = Node(self._setting(spec, len(self._nodes) + 1), self._cluster)
        try:
            node.start()
            yield node
        finally:
            node.kill()
            self._cluster.kubectl("delete", "node", spec.name, "--ignore-not-found")
            del self._nodes[spec.name]

    def processes(self, pod: Mapping[str, Any], container: str = "main") -> list[int]:
        """Give the process ids of a running container, its own process first; `pod` is as `kubectl -ojson` gives it."""
        root = f"/pods/{pod['metadata']['uid']}/{container}.root/".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if entry.name.isdecimal() and root in (entry / "mountinfo").read_bytes():
                    found.append(int(entry.name))
        return sorted(found)

    def start(self) -> None:
        """Start all nodes, and wait until the cluster calls them ready."""
        self._folder.mkdir()
        self.add_images({})
        _make_certificate(self._folder)
        with self._cluster.network.inside():
            ip(f"route add {SERVICE_RANGE} dev lo src {API_ADDRESS}")
            for name, value in _ROUTING.items():
                Path(f"/proc/sys/net/ipv4/{name}").write_text(value)
        self._services = start_tied(
            self._cluster, self._folder / "services.log", "-m", "harness.cluster_services", self._cluster.kubeconfig
        )
        for node in self:
            node.begin()
        wait_ready(self._cluster, tuple(self))

    def stop(self) -> None:
        """End all nodes and their pods at once."""
        for node in self:
            node.kill()
        if self._services is not None:
            self._services.kill()
            self._services.wait()

    def _setting(self, spec: NodeSpec, index: int) -> NodeSetting:
        return NodeSetting(
            name=spec.name,
            index=index,
            folder=str(self._folder / spec.name),
            kubeconfig=str(self._cluster.kubeconfig),
            images=str(self._folder / "images.json"),
            certificate=str(self._folder / "endpoint.crt"),
            key=str(self._folder / "endpoint.key"),
            name_server=NAME_SERVER,
            labels=spec.labels,
            resources=spec.resources,
        )


class Node:
    """One node."""

    def __init__(self, setting: NodeSetting, cluster: ControlPlane) -> None:
        self.name = setting.name
        self.log = Path(f"{setting.folder}.log")
        self._setting = setting
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until the cluster calls it ready."""
        self.begin()
        wait_ready(self._cluster, (self,))

    def begin(self) -> None:
        """Start it."""
        folder = Path(self._setting.folder)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_whole(folder / "node.json", self._setting)
        agent = (sys.executable, "-m", "harness.node", folder / "node.json")
        self._process = start_tied(self._cluster, self.log, "-I", "-S", first_process.__file__, *agent)

    def check(self) -> None:
        """Fail with its last words when it has ended."""
        assert self._process is not None
        assert self._process.poll() is None, f"{self.name} has ended; its last words:\n{last_words(self.log)}"

    def stop(self) -> None:
        """End the agent as an orderly shutdown does; its pods end with it, and the cluster keeps their objects."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(STOP_S)

    def kill(self) -> None:
        """Lose the node with all that runs on it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def wait_ready(cluster: ControlPlane, nodes: Sequence[Node]) -> None:
    """Wait until the cluster calls nodes ready."""
    state = "{.status.conditions[?(@.type=='Ready')].status}{.spec.taints}"
    path = f"-o=jsonpath={{range .items[*]}}{{.metadata.name}}={state} {{end}}"

    def ready() -> bool:
        for node in nodes:
            node.check()
        told = cluster.kubectl("get", "nodes", path).split()
        return all(f"{node.name}=True" in told for node in nodes)

    wait_for(ready, f"not all got ready: {', '.join(node.name for node in nodes)}", within_s=READY_S)


def start_tied(cluster: ControlPlane, log: Path, *argv: str | Path) -> subprocess.Popen[bytes]:
    """Start Python with these words in the cluster's network, tied to this process by the laptop runner's launcher."""
    tied = (sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), "--")
    words = (*tied, sys.executable, *map(str, argv))
    environment = os.environ | {"PYTHONPATH": str(_TESTS), "PYTHONUNBUFFERED": "1"}
    with cluster.network.inside(), log.open("ab") as output:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cluster.folder,
            env=environment,
            start_new_session=True,
        )


def last_words(log: Path) -> str:
    """Give the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def _make_certificate(folder: Path) -> None:
    key, certificate = folder / "endpoint.key", folder / "endpoint.crt"
    making = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=node"
    subprocess.run([*making.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=30)
