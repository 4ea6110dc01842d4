"""The room of a container: its files, its user and its rights, as `enclose.py` makes them.

Rules of this file:

- Everything that decides is pure: `room` makes of a Pod what a container gets; only `Room` writes a file.
- A container gets no more rights than Kubernetes' runtimes give by default (containerd, `DefaultUnixCaps`), less what
  it drops; a privileged one keeps all.
"""

import marshal
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from argosy.api.containers import Container
from argosy.api.kubernetes import Pod
from harness.node import enclose

KEPT: Final = ("bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "opt", "proc", "sbin", "sys", "usr", "var")
"""Folders of the machine's root that a container sees; every other is empty in it."""
_CAPABILITIES: Final = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_BIND_SERVICE": 10,
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "IPC_LOCK": 14,
    "SYS_CHROOT": 18,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "SYS_NICE": 23,
    "SYS_RESOURCE": 24,
    "MKNOD": 27,
    "AUDIT_WRITE": 29,
    "SETFCAP": 31,
}
_NOT_BY_DEFAULT: Final = {"NET_ADMIN", "IPC_LOCK", "SYS_PTRACE", "SYS_ADMIN", "SYS_NICE", "SYS_RESOURCE"}
_ALL: Final = range(64)


class Mount(NamedTuple):
    """A folder or file of the machine at a path of the container."""

    source: str
    target: str
    read_only: bool


class User(NamedTuple):
    """Who a container's processes are."""

    user: int
    group: int
    groups: tuple[int, ...]


def user(pod: Pod, container: Container, image_user: int) -> User:
    """Give the user of a container: its own, the pod's, or the image's."""
    own, pods = container.security_context, pod.spec.security_context
    numbers = {
        name: next(
            (value for value in (getattr(own, name, None), getattr(pods, name, None)) if value is not None), None
        )
        for name in ("run_as_user", "run_as_group")
    }
    uid = image_user if numbers["run_as_user"] is None else numbers["run_as_user"]
    also = pods.supplemental_groups if pods else ()
    extra = (*also, *(() if pods is None or pods.fs_group is None else (pods.fs_group,)))
    # Without a group of its own a numeric user has the group root, as container runtimes do it.
    image_group = image_user if numbers["run_as_user"] is None else 0
    return User(uid, image_group if numbers["run_as_group"] is None else numbers["run_as_group"], extra)


def must_not_be_root(pod: Pod, container: Container) -> bool:
    """Say whether the container may not run as root."""
    own, pods = container.security_context, pod.spec.security_context
    if own is not None and own.run_as_non_root is not None:
        return own.run_as_non_root
    return bool(pods is not None and pods.run_as_non_root)


def capabilities(container: Container) -> tuple[int, ...]:
    """Give the numbers of the capabilities that the container's processes may have at most."""
    context = container.security_context
    if context is not None and context.privileged:
        return tuple(_ALL)
    changes = (context.capabilities if context else None) or {}
    kept = set(_CAPABILITIES) - _NOT_BY_DEFAULT
    for name in changes.get("drop", ()):
        kept -= kept if name == "ALL" else {name.removeprefix("CAP_")}
    for name in changes.get("add", ()):
        kept |= set(_CAPABILITIES) if name == "ALL" else {name.removeprefix("CAP_")}
    return tuple(sorted(_CAPABILITIES[name] for name in kept if name in _CAPABILITIES))


def hidden(root: Iterable[os.DirEntry[str]]) -> tuple[str, ...]:
    """Give the folders of the machine's root that are empty in a container."""
    return tuple(sorted(entry.name for entry in root if entry.is_dir(follow_symlinks=False) and entry.name not in KEPT))


def visible(folders: Iterable[Path], hidden_names: Sequence[str]) -> tuple[str, ...]:
    """Give those folders that would be hidden, each once, outer ones first and none within another."""
    found: list[Path] = []
    for folder in sorted({folder.resolve() for folder in folders}):
        if folder.parts[1] in hidden_names and not any(folder.is_relative_to(outer) for outer in found):
            found.append(folder)
    return tuple(map(str, found))


class Surroundings(NamedTuple):
    """What a container gets of its pod and its node."""

    network: str
    """A path by which the network is entered; empty for the node's own."""
    hostname: str
    files: Mapping[str, str]
    """Text files of the root, by path."""
    hidden: tuple[str, ...]
    visible: tuple[str, ...]


def room(
    container: Container, around: Surroundings, who: User, mounts: Iterable[Mount], scratch: str
) -> dict[str, Any]:
    """Give the room of a container, as enclose.py reads it."""
    context = container.security_context
    return {
        "network": around.network,
        "hostname": around.hostname,
        "files": dict(around.files),
        "hidden": list(around.hidden),
        "visible": list(around.visible),
        "scratch": scratch,
        "mounts": [tuple(each) for each in sorted(mounts, key=lambda each: each.target)],
        "read_only_root": bool(context and context.read_only_root_filesystem),
        "working_dir": container.working_dir or "/",
        "user": who.user,
        "group": who.group,
        "groups": list(who.groups),
        "capabilities": capabilities(container),
        "no_new_privileges": bool(context and context.allow_privilege_escalation is False),
    }


class Room:
    """An `Enclosure`: puts programs into a room that is written to a file."""

    def __init__(self, file: Path, contents: Mapping[str, Any]) -> None:
        Path(contents["scratch"]).mkdir(exist_ok=True)
        file.write_bytes(marshal.dumps(dict(contents)))
        self._words = (sys.executable, "-I", "-S", enclose.__file__)
        self._file = str(file)

    def main(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """Give the words for the container's own process."""
        return (*self._words, "main", self._file, str(os.getpid()), "--", *argv)

    def guest(self, argv: tuple[str, ...], pid: int) -> tuple[str, ...]:
        """Give the words for one more process beside the running one."""
        return (*self._words, "guest", self._file, str(os.getpid()), str(pid), "--", *argv)
