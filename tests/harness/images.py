"""Container images, really built from images/Containerfile and really started, without a registry and without a daemon.

Rules of this file:

- The base is a root file system of this machine's Debian, with Python. Packages are fetched by this machine's pip, by
  the hashes of the locks, and handed in; the build itself has no need of a network.
- Base, packages and layers are kept in a cache, by what they are made of: only what has changed is made again.
- A container gets nothing that the image did not ask for: its user, no capabilities, a root that is read-only.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "argosy" / "images"
TOOLS = {"buildah": "buildah", "crun": "crun", "mmdebstrap": "mmdebstrap"}
"""Commands, and the Debian packages that bring them."""
BASE_PACKAGES = ("ca-certificates", "python3", "python3-venv")
WHEELHOUSE = "/wheelhouse"
BUILD_S = 600
MOST_IMAGES = 80
"""So many images and layers are kept, some gigabytes; then all are made anew, but the base's archive."""
_WITHOUT_HYBRID = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun "$@"'
"""crun refuses machines with both versions of cgroups, though it is to use neither; it runs where one is not seen."""


def cannot_build_reason() -> str | None:
    """Say why no image can be built and started here, or None."""
    if os.geteuid() != 0:
        return "root is needed to build and start images"
    missing = [package for command, package in TOOLS.items() if shutil.which(command) is None]
    if missing:
        return f"missing to build images (Debian): {' '.join(missing)}"
    return None


class Image(NamedTuple):
    """A built image: its name, and its configuration as the OCI specification has it."""

    name: str
    config: Mapping[str, Any]


def build(target: str, *locks: str) -> Image:
    """Build a target of images/Containerfile, whose packages are those of the locks."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if len(_buildah("images", "--all", "--quiet").split()) > MOST_IMAGES:
            _buildah("rmi", "--all", "--force")
        base = _base()
        wheels = _wheels("build", *locks)
        name = f"localhost/argosy/{target}:test"
        begun = time.monotonic()
        _buildah(
            *("build", "--layers", "--isolation", "chroot", "--pull-never", "--target", target, "--tag", name),
            *("--volume", f"{wheels}:{WHEELHOUSE}:ro", "--build-arg", f"BASE={base}"),
            *("--build-arg", f"PIP_OPTIONS=--no-index --find-links={WHEELHOUSE}"),
            *("--file", ROOT / "images" / "Containerfile", ROOT),
        )
        print(f"built {name} in {time.monotonic() - begun:.0f} s")
    return Image(name, json.loads(_buildah("inspect", "--type", "image", name))["OCIv1"]["config"])


@contextlib.contextmanager
def unpacked(image: Image) -> Iterator[Path]:
    """Give the root of an image's files, until the block ends."""
    container = _buildah("from", "--pull-never", image.name).strip()
    try:
        yield Path(_buildah("mount", container).strip())
    finally:
        _buildah("rm", container)


class Mount(NamedTuple):
    """A folder of this machine that a container may read."""

    source: Path
    target: str


def bundle(
    folder: Path, image: Image, root: Path, arguments: Sequence[str], *, network: str = "", mounts: Sequence[Mount] = ()
) -> Path:
    """Write what crun needs to run the image's program; `network` is a namespace's file, or one of its own."""
    own = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
    user, group = (int(each) for each in image.config["User"].split(":"))
    readable = [
        {"destination": each.target, "source": str(each.source), "type": "bind", "options": ["rbind", "ro"]}
        for each in mounts
    ]
    content = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user, "gid": group},
            "args": [*image.config["Entrypoint"], *arguments],
            "env": image.config["Env"],
            "cwd": image.config["WorkingDir"],
            "noNewPrivileges": True,
        },
        "root": {"path": str(root), "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            *readable,
        ],
        "linux": {"namespaces": [*own, {"type": "network", **({"path": network} if network else {})}]},
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def start(folder: Path, output: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start the container of a bundle; a signal to crun is passed on to it."""
    options = ("--cgroup-manager=disabled", f"--root={folder}/state", "run", f"--bundle={folder}", folder.name)
    command = ("unshare", "--mount", "sh", "-c", _WITHOUT_HYBRID, "crun", *options)
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, text=True)


def _base() -> str:
    """Give the name of the base, made once from this machine's Debian."""
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    digest = hashlib.sha256(" ".join((suite, *BASE_PACKAGES)).encode()).hexdigest()[:12]
    name = f"localhost/argosy/base:{digest}"
    if name.encode() in _buildah("images", "--format", "{{.Name}}:{{.Tag}}").encode():
        return name
    archive = CACHE / f"base-{digest}.tar"
    begun = time.monotonic()
    if not archive.exists():
        unfinished = archive.with_suffix(".unfinished.tar")
        _run("mmdebstrap", "--variant=apt", f"--include={','.join(BASE_PACKAGES)}", suite, unfinished)
        unfinished.rename(archive)
    container = _buildah("from", "scratch").strip()
    _buildah("add", container, archive, "/")
    _buildah("commit", "--rm", container, name)
    print(f"made {name} in {time.monotonic() - begun:.0f} s")
    return name


def _wheels(*locks: str) -> Path:
    """Give a folder with the packages of locks, checked against their hashes."""
    files = [ROOT / "locks" / f"{lock}.txt" for lock in locks]
    content = b"".join(file.read_bytes() for file in files)
    folder = CACHE / f"wheels-{hashlib.sha256(content + sys.version.encode()).hexdigest()[:12]}"
    if not folder.exists():
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        named = [part for file in files for part in ("--requirement", file)]
        _run(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
            *(*named, "--dest", unfinished),
        )
        unfinished.rename(folder)
    return folder


def _buildah(*arguments: str | Path) -> str:
    return _run(
        *("buildah", "--root", CACHE / "store", "--runroot", CACHE / "run", "--storage-driver", "overlay"), *arguments
    )


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def readable_kubeconfig(source: Path, folder: Path, target: str) -> None:
    """Write a kubeconfig and its certificate into a folder that is mounted at `target`, for any user to read."""
    folder.mkdir(mode=0o755)
    config = json.loads(source.read_text())
    for each in config["clusters"]:
        certificate = Path(each["cluster"]["certificate-authority"])
        each["cluster"]["certificate-authority"] = f"{target}/{certificate.name}"
        (folder / certificate.name).write_bytes(certificate.read_bytes())
    (folder / "kubeconfig").write_text(json.dumps(config))
    for file in folder.iterdir():
        file.chmod(0o644)
