"""What a node is told by whoever starts it, as a file; and the images, in a file that may change while nodes run."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from argosy.edge.processes.pods import LocalCommand

CHECKOUT = Path(__file__).resolve().parents[3]


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """What stands for an image: its entry point and user, and folders of the machine that its programs read."""

    argv: tuple[str, ...] = ()
    user: int = 0
    env: Mapping[str, str] = {}
    folders: tuple[str, ...] = ()

    @property
    def command(self) -> LocalCommand:
        """The image as the runner takes it."""
        return LocalCommand(argv=self.argv)


class NodeSetting(msgspec.Struct, frozen=True, kw_only=True):
    """One node."""

    name: str
    index: int
    """From 1; its addresses and interfaces are numbered by it."""
    folder: str
    """Its pods' volumes and logs."""
    kubeconfig: str
    images: str
    """The file of images by name."""
    certificate: str
    key: str
    name_server: str
    labels: Mapping[str, str] = {}
    resources: Mapping[str, str] = {}
    """Over `RESOURCES`; extended ones too."""

    @property
    def address(self) -> str:
        """Where the node answers, and what pods on its network have."""
        return f"10.245.1.{self.index}"

    @property
    def pod_range(self) -> str:
        """The first three numbers of its pods' addresses."""
        return f"10.244.{self.index}"

    @property
    def all_resources(self) -> dict[str, str]:
        """What its pods may use together."""
        return {**RESOURCES, **self.resources}


RESOURCES = {"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"}


def read_node(path: Path) -> NodeSetting:
    """Read what a node is told."""
    return msgspec.json.decode(path.read_bytes(), type=NodeSetting)


def read_images(path: Path) -> dict[str, Image]:
    """Read the images as they are now."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Image])


def write_whole(path: Path, value: object) -> None:
    """Write a file so that a reader sees the old one or the new one."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(msgspec.json.encode(value))
    beside.rename(path)


def programs_of(image: Image) -> tuple[Path, ...]:
    """Give the folders that must be seen for an image's programs to run: this checkout, its Python, its own."""
    own = [Path(folder) for folder in image.folders]
    first = Path(image.argv[0]) if image.argv else Path()
    if first.is_absolute():
        own.append(first.resolve().parent)
    return (CHECKOUT, Path(sys.prefix), Path(sys.base_prefix), *own)


def search_path() -> str:
    """Give PATH in a container: this checkout's programs, then the system's."""
    return os.pathsep.join(
        [str(Path(sys.executable).parent), *(f"{root}/{name}" for root in ("/usr/local", "/usr", "") for name in _BINS)]
    )


_BINS = ("sbin", "bin")
