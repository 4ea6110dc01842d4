"""Folders that stand for the volumes of a pod, on the machine's disk.

Rules of this file:

- Files that come from the API change all at once, as the kubelet does it: a hidden folder holds them, `..data` points
  at it, and each name points through `..data`. So a program sees either the old files or the new ones.
- A group that the pod's volumes belong to (fsGroup) may read what is read-only and write what is not.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from harness.node.volumes import Files

DATA = "..data"


class Owner(NamedTuple):
    """Whose a volume is; -1 leaves it to root."""

    user: int = -1
    group: int = -1


def fill(folder: Path, files: Files, owner: Owner, *, private: frozenset[str] = frozenset()) -> bool:
    """Make a folder hold exactly these files; say whether that was a change. `private` ones are their user's alone."""
    folder.mkdir(exist_ok=True)
    current = folder / DATA
    if current.exists() and _held(current) == {path: file.content for path, file in files.items()}:
        return False
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    for path, file in files.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        mode = 0o600 if path in private and owner != Owner() else file.mode
        os.chown(target, owner.user if path in private else -1, owner.group)
        target.chmod(mode | (0o440 if owner.group != -1 else 0))
    for inner in (fresh, *(each for each in fresh.rglob("*") if each.is_dir())):
        os.chown(inner, -1, owner.group)
        inner.chmod(0o2755 if owner.group != -1 else 0o755)
    _point(folder / DATA, fresh.name)
    names = {Path(path).parts[0] for path in files}
    for name in names:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"{DATA}/{name}")
    for entry in list(folder.iterdir()):
        if entry.name in names or entry.name in (DATA, fresh.name):
            continue
        if entry.is_symlink():
            entry.unlink()
        else:
            shutil.rmtree(entry, ignore_errors=True)
    return True


def make_empty(folder: Path, owner: Owner) -> None:
    """Make an emptyDir."""
    folder.mkdir(exist_ok=True)
    os.chown(folder, -1, owner.group)
    folder.chmod(0o2777 if owner.group != -1 else 0o777)


def host_path(source: Mapping[str, str]) -> str:
    """Give the path of a hostPath volume, made where its type asks for that. Raises `OSError`."""
    path, kind = Path(source["path"]), source.get("type", "")
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch(mode=0o644)
    holds = {"Directory": path.is_dir, "File": path.is_file, "Socket": path.is_socket}.get(kind, path.exists)
    if not holds():
        raise FileNotFoundError(f"hostPath {path} is no {kind or 'path of this machine'}")
    return str(path.resolve())


def _point(link: Path, target: str) -> None:
    beside = link.with_name(f"{link.name}_tmp")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.rename(link)


def _held(folder: Path) -> dict[str, bytes]:
    root = folder.resolve()
    return {str(each.relative_to(root)): each.read_bytes() for each in root.rglob("*") if each.is_file()}
