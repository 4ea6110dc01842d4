"""Real Kubernetes programs, built from tests/real/modules/ once and kept in a cache outside the repository.

Rules of this file:

- A module's programs lie in a folder named for the content of its go.mod and go.sum and for how they are built, so a
  changed pin is built anew and an old checkout finds its own programs again.
- A build goes to a folder beside it and is renamed when whole; whoever comes second waits for the first.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MODULES = Path(__file__).resolve().parents[1] / "real" / "modules"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "argosy" / "test-cluster"
GO = "go1.26."
"""Kubernetes 1.36 built with Go 1.27 serves an OpenAPI that clients cannot read."""
BUILD_TIMEOUT_S = 3600
_VERSION = "k8s.io/component-base/version.git"


class Module(NamedTuple):
    """Programs that are built together; `packages` by program."""

    name: str
    packages: dict[str, str]
    cost: str
    linker_flags: str = ""

    @property
    def folder(self) -> Path:
        """Where its programs lie once they are built."""
        source = MODULES / self.name
        content = b"".join((source / name).read_bytes() for name in ("go.mod", "go.sum"))
        how = f"{sorted(self.packages.items())} {self.linker_flags}"
        return CACHE / f"{self.name}-{hashlib.sha256(content + how.encode()).hexdigest()[:12]}"


KUBE = Module(
    "kube",
    {name: f"k8s.io/kubernetes/cmd/{name}" for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")},
    cost="about 7 minutes on 2 cores the first time, 3 GB for Go's caches",
    # Without a version the API server says v0.0.0, and clients that compare versions refuse it.
    linker_flags=f"-X {_VERSION}Version=v1.36.3 -X {_VERSION}Major=1 -X {_VERSION}Minor=36",
)
ETCD = Module("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, cost="about a minute the first time")
ALL = (ETCD, KUBE)
"""What a test cluster is made of."""
HELM = Module("helm", {"helm": "helm.sh/helm/v3/cmd/helm"}, cost="about 3 minutes on 2 cores the first time")
EVERYTHING = (*ALL, HELM)


def go() -> str | None:
    """Give the Go that builds them, the machine's or the one that `make test-real` installs, or None."""
    installed = Path(sysconfig.get_path("purelib")) / "go" / "bin" / "go"
    for found in (shutil.which("go"), shutil.which(str(installed))):
        if found is not None:
            command = [found, "env", "GOVERSION"]
            version = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment()).stdout
            if version.startswith(GO):
                return found
    return None


def program(name: str) -> Path | None:
    """Give the path of a program, or None when it has not been built."""
    module = next(module for module in EVERYTHING if name in module.packages)
    path = module.folder / name
    return path if path.exists() else None


def built() -> bool:
    """Say whether all programs of a cluster are there."""
    return all(module.folder.exists() for module in ALL)


def build() -> None:
    """Build what has not been built, and say what and how long it takes."""
    for module in EVERYTHING:
        with _alone(module):
            if not module.folder.exists():
                _build(module)


def _build(module: Module) -> None:
    builder = go()
    assert builder is not None, f"{GO}x is needed"
    print(f"building {', '.join(module.packages)} ({module.cost}) …", flush=True)
    begun = time.monotonic()
    unfinished = module.folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    flags = ("-trimpath", "-mod=readonly", "-ldflags", f"-s -w {module.linker_flags}".strip())
    for name, package in module.packages.items():
        subprocess.run(
            [builder, "build", *flags, "-o", unfinished / name, package],
            cwd=MODULES / module.name,
            env=_environment(),
            timeout=BUILD_TIMEOUT_S,
            check=True,
        )
    unfinished.rename(module.folder)
    print(f"built in {time.monotonic() - begun:.0f} s, kept in {module.folder}", flush=True)


def _environment() -> dict[str, str]:
    return os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}


@contextlib.contextmanager
def _alone(module: Module) -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{module.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
