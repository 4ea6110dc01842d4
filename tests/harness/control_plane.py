"""A real Kubernetes control plane: etcd, API server, controller-manager and scheduler, in a network of their own.

    with control_plane(folder) as cluster, cluster.network.inside():
        …  # cluster.kubeconfig names the API server; `kubectl --kubeconfig` works here too

Rules of this file:

- Each program is tied to this process by the launcher that the laptop's runner uses: it dies with the test.
- They start in order, each when the one before answers, and stop in the opposite order, one by one: an API server whose
  etcd is gone does not end on SIGTERM.
- Everything of one cluster lies in one folder: data, keys, kubeconfigs, logs.
"""

import base64
import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from argosy.api.names import SYSTEM_NAMESPACE
from argosy.edge.processes import launcher
from harness import go_programs
from harness.network import API_ADDRESS, SERVICE_RANGE, Network, no_network_reason
from harness.waiting import wait_for

API_PORT = 6443
ETCD_PORT = 2379
START_S = 90
STOP_S = 20
_LOCAL = "127.0.0.1"
_ORDER = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_USERS = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
}


def cannot_run_reason() -> str | None:
    """Say why no control plane can be built and run here, or None."""
    for command in ("openssl", "kubectl"):
        if shutil.which(command) is None:
            return f"the command {command} is needed"
    if not go_programs.built() and go_programs.go() is None:
        return f"{go_programs.GO}x is needed to build Kubernetes"
    return no_network_reason()


@contextlib.contextmanager
def control_plane(folder: Path) -> Iterator["ControlPlane"]:
    """Run a control plane whose files are in `folder`, until the block ends."""
    with Network() as network:
        cluster = ControlPlane(folder, network)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


class ControlPlane:
    """One cluster without nodes."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.folder = folder
        self.network = network
        self.kubeconfig = folder / "admin.kubeconfig"
        self._tokens = {user: secrets.token_hex(16) for user in _USERS}
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def certificate(self) -> Path:
        """The certificate that the API server made for itself."""
        return self.folder / "certificates" / "apiserver.crt"

    @property
    def audit_log(self) -> Path:
        """What ServiceAccounts have asked of the API server, a line of JSON for each request."""
        return self.folder / "audit.log"

    @property
    def process_id(self) -> int:
        """A process in the cluster's network, for `nsenter --net=/proc/PID/ns/net`."""
        return self._children["etcd"].pid

    def start(self) -> None:
        """Start all parts, and wait until a namespace has its ServiceAccount: then the controllers work."""
        self._write_credentials()
        self._start_etcd()
        self.start_api_server()
        self._start_controllers()
        self._wait("kube-controller-manager", lambda: self._status_of(_DEFAULT_ACCOUNT) == http.client.OK)

    def stop(self) -> None:
        """Stop all parts, the last started first."""
        for name in reversed(_ORDER):
            self._stop(name)

    def stop_controllers(self) -> None:
        """Stop controller-manager and scheduler: what is written from here on is somebody else's."""
        for name in ("kube-scheduler", "kube-controller-manager"):
            self._stop(name)

    def start_api_server(self) -> None:
        """Start the API server, and wait until it is ready."""
        files = self.folder
        self._start(
            "kube-apiserver",
            f"--etcd-servers=http://{_LOCAL}:{ETCD_PORT}",
            f"--bind-address={API_ADDRESS}",
            f"--advertise-address={API_ADDRESS}",
            f"--secure-port={API_PORT}",
            f"--cert-dir={self.certificate.parent}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={files}/accounts.pub",
            f"--service-account-signing-key-file={files}/accounts.key",
            f"--token-auth-file={files}/tokens.csv",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            f"--audit-policy-file={files}/audit-policy.json",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-mode=blocking",
            # Without it webhooks are called at ClusterIPs, which nothing routes in a cluster without nodes.
            "--enable-aggregator-routing=true",
        )
        self._wait("kube-apiserver", lambda: self._status_of("/readyz") == http.client.OK)

    @contextlib.contextmanager
    def api_server_down(self) -> Iterator[None]:
        """Kill the API server, and start it again when the block ends.

        On a cluster, scheduler and controller-manager lose their leases meanwhile, end, and are started again. One that
        went on would call all nodes silent as soon as the server is back.
        """
        watched = [f"{path}?watch=1&timeoutSeconds=1&resourceVersion=0" for path in self._custom_kinds()]
        self.stop_controllers()
        self._children["kube-apiserver"].kill()  # on SIGTERM it would wait for watches
        self._stop("kube-apiserver")
        try:
            yield
        finally:
            self.start_api_server()
            # It calls itself ready before it serves watches of custom kinds.
            self._wait("kube-apiserver", lambda: all(self._status_of(each) == http.client.OK for each in watched))
            self._start_controllers()

    def forget_history(self) -> None:
        """Compact etcd at its newest revision, and start the API server anew, whose memory would still know."""
        revision = self._etcd("/v3/kv/range", {"key": "AA=="})["header"]["revision"]
        self._etcd("/v3/kv/compaction", {"revision": revision, "physical": True})
        with self.api_server_down():
            pass

    def lose(self, key: str) -> None:
        """Remove a key from etcd, such as /registry/pods/NAMESPACE/NAME, without the API server."""
        self._etcd("/v3/kv/deleterange", {"key": base64.b64encode(key.encode()).decode()})

    def kubectl(self, *args: str, stdin: str = "") -> str:
        """Run kubectl as the cluster's admin, and give what it printed."""
        command = ["kubectl", f"--kubeconfig={self.kubeconfig}", *args]
        with self.network.inside():
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def _custom_kinds(self) -> list[str]:
        """Give the paths of all kinds that CustomResourceDefinitions have brought."""
        version = "{.spec.versions[?(@.storage==true)].name}"
        path = f"/apis/{{.spec.group}}/{version}/{{.spec.names.plural}}"
        return self.kubectl("get", "crds", f"--output=jsonpath={{range .items[*]}}{path} {{end}}").split()

    def _start_etcd(self) -> None:
        peer = f"http://{_LOCAL}:{ETCD_PORT + 1}"
        client = f"http://{_LOCAL}:{ETCD_PORT}"
        self._start(
            "etcd",
            f"--data-dir={self.folder}/etcd",
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # As kubeadm sets it: without it bookmarks of a quiet kind stay where they are.
            "--watch-progress-notify-interval=5s",
            "--log-level=warn",
        )
        self._wait("etcd", lambda: self._etcd("/v3/maintenance/status", {}))

    def _start_controllers(self) -> None:
        own = ("--leader-elect=false", f"--bind-address={_LOCAL}")
        for name in ("kube-controller-manager", "kube-scheduler"):
            kubeconfig = self._kubeconfig(f"system:{name}")
            also = ()
            if name == "kube-controller-manager":
                also = (
                    "--use-service-account-credentials",
                    f"--service-account-private-key-file={self.folder}/accounts.key",
                    f"--root-ca-file={self.certificate}",
                )
            access = (f"--{use}kubeconfig={kubeconfig}" for use in ("", "authentication-", "authorization-"))
            self._start(name, *own, f"--cert-dir={self.folder}/{name}", *access, *also)

    def _write_credentials(self) -> None:
        for command in (
            f"genrsa -out {self.folder}/accounts.key 2048",
            f"rsa -in {self.folder}/accounts.key -pubout -out {self.folder}/accounts.pub",
        ):
            subprocess.run(["openssl", *command.split()], check=True, capture_output=True, timeout=30)  # noqa: S607
        lines = (f'{token},{user},{user},"{_USERS[user]}"\n' for user, token in self._tokens.items())
        (self.folder / "tokens.csv").write_text("".join(lines))
        (self.folder / "audit-policy.json").write_text(json.dumps(_AUDIT_POLICY))
        self._kubeconfig("admin")

    def _kubeconfig(self, user: str) -> Path:
        cluster = {"server": f"https://{API_ADDRESS}:{API_PORT}", "certificate-authority": str(self.certificate)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": self._tokens[user]}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        }
        path = self.folder / f"{user.removeprefix('system:')}.kubeconfig"
        path.write_text(json.dumps(content))
        return path

    def _start(self, name: str, *args: str) -> None:
        program = go_programs.program(name)
        assert program is not None, f"{name} is not built"
        launched = (sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), "--", str(program), *args)
        with self.network.inside(), self._log(name).open("ab") as log:
            self._children[name] = subprocess.Popen(
                launched, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )

    def _stop(self, name: str) -> None:
        child = self._children.pop(name, None)
        if child is None:
            return
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _wait(self, name: str, condition: Any) -> None:
        def answers() -> bool:
            code = self._children[name].poll()
            assert code is None, f"{name} ended with {code}; its last words:\n{self._last_words(name)}"
            try:
                with self.network.inside():
                    return bool(condition())
            except OSError:
                return False

        wait_for(answers, f"{name} did not get ready; see {self._log(name)}", within_s=START_S)

    def _status_of(self, path: str) -> int:
        context = ssl.create_default_context(cafile=self.certificate)
        connection = http.client.HTTPSConnection(API_ADDRESS, API_PORT, timeout=5, context=context)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"authorization": f"Bearer {self._tokens['admin']}"})
            return connection.getresponse().status

    def _etcd(self, path: str, body: dict[str, Any]) -> Any:
        with self.network.inside(), contextlib.closing(http.client.HTTPConnection(_LOCAL, ETCD_PORT, timeout=5)) as to:
            to.request("POST", path, body=json.dumps(body))
            return json.load(to.getresponse())

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _last_words(self, name: str) -> str:
        return "\n".join(self._log(name).read_text(errors="replace").splitlines()[-20:])


_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": [f"system:serviceaccounts:{SYSTEM_NAMESPACE}"]}, {"level": "None"}],
}
_DEFAULT_ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"
