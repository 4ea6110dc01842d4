"""Becomes a program of a container: in the pod's network, with the container's own files, user and rights.

    python -I -S enclose.py main ROOM SUPERVISOR_PID -- ARGV…
    python -I -S enclose.py guest ROOM SUPERVISOR_PID BESIDE_PID -- ARGV…

ROOM is a file that rooms.py writes. `main` makes the container's namespaces, `guest` enters those of a process that
runs in them.

Rules of this file:

- It imports nothing of Argosy and little else, not even pathlib or json: it runs before every process of a container.
- The container's root is the machine's own system under an empty writable layer in memory, which goes with the
  container's last process. Folders in which people and programs keep their own things (/root, /tmp, …) are empty in it.
- All that the container is given is mounted while the machine's root still stands beside its own; then that is
  unmounted, the root is made read-only if it is to be, and only then does the user change.
- A change of user takes the tie to the supervisor back (prctl(2), PR_SET_PDEATHSIG): it is tied anew after that.
"""

import ctypes
import marshal
import os
import stat
import sys
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWUTS, NEWIPC = 0x00020000, 0x04000000, 0x08000000
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 0x20, 0x1000, 0x4000, 1 << 18
DETACH = 2
SET_PDEATHSIG, CAPBSET_READ, CAPBSET_DROP, SET_NO_NEW_PRIVS = 1, 23, 24, 38
KILL = 9
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
MACHINE = "/.machine"
FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127


def main(arguments: list[str]) -> int:
    """Become the program, or give an exit code."""
    own, argv = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    way, file, supervisor = own[0], own[1], int(own[2])
    with open(file, "rb") as opened:
        room = marshal.load(opened)  # noqa: S302 (written by our own node)
    try:
        if way == "main":
            make(room)
        else:
            enter(own[3])
        os.chdir(room["working_dir"])
        become(room)
    except OSError as error:
        sys.stderr.write(f"the container cannot be made: {error}\n")
        return FAILED
    if LIBC.prctl(SET_PDEATHSIG, KILL, 0, 0, 0) != 0 or os.getppid() != supervisor:
        return FAILED
    try:
        os.execvp(argv[0], argv)  # noqa: S606 (no shell is wanted)
    except FileNotFoundError:
        sys.stderr.write(f"cannot start {argv[0]}: there is no such program in the container\n")
        return NOT_FOUND
    except OSError as error:
        sys.stderr.write(f"cannot start {argv[0]}: {error.strerror}\n")
        return NOT_EXECUTABLE


def checked(result: int, what: str) -> None:
    """Raise OSError when a call of the C library has failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Show a file system, or change how one is shown: the system call of this name."""
    words = [word.encode() for word in (source, target, kind)]
    checked(LIBC.mount(*words, ctypes.c_ulong(flags), data.encode() or None), f"mounting {target}")


def enter(pid: str) -> None:
    """Enter the namespaces of a process."""
    for name in ("net", "uts", "ipc", "mnt"):
        join(f"/proc/{pid}/ns/{name}")


def join(path: str) -> None:
    """Enter one namespace."""
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    checked(LIBC.setns(namespace, 0), f"entering {path}")
    os.close(namespace)


def make(room: dict[str, Any]) -> None:
    """Make the container's namespaces and files, and be in them."""
    if room["network"]:
        join(room["network"])
    checked(LIBC.unshare(NEWNS | NEWUTS | NEWIPC), "making namespaces")
    hostname = room["hostname"].encode()
    checked(LIBC.sethostname(hostname, len(hostname)), "naming the host")
    mount("", "/", flags=REC | PRIVATE)
    change_root(room)
    mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC)
    mount("sysfs", "/sys", "sysfs", NOSUID | NODEV | NOEXEC | RDONLY)
    make_devices()
    for path, text in room["files"].items():
        write(path, text)
    volumes = [(target, source, False) for source, target, _ in room["mounts"]]
    shown = [(folder, folder, True) for folder in room["visible"]]
    for target, source, read_only in sorted(volumes + shown):  # what lies over a folder comes after it
        bind(source, target)
        if read_only:
            mount("", target, flags=REMOUNT | BIND | RDONLY)
    for _, target, read_only in room["mounts"]:
        if read_only:
            mount("", target, flags=REMOUNT | BIND | RDONLY)
    os.makedirs(room["working_dir"], exist_ok=True)
    checked(LIBC.umount2(MACHINE.encode(), DETACH), "leaving the machine's root")
    os.rmdir(MACHINE)
    if room["read_only_root"]:
        mount("", "/", flags=REMOUNT | BIND | RDONLY)
    os.fchown(1, room["user"], -1)  # the container's user may open /dev/stdout


def change_root(room: dict[str, Any]) -> None:
    """Make a root over the machine's system, with the machine's own root at MACHINE."""
    scratch = room["scratch"]
    mount("argosy", scratch, "tmpfs", data="mode=755")
    upper, work, root = (f"{scratch}/{name}" for name in ("upper", "work", "root"))
    for folder in (upper, work, root, upper + MACHINE):
        os.mkdir(folder)
    for name in room["hidden"]:
        hidden = f"{upper}/{name}"
        os.mkdir(hidden)
        os.chmod(hidden, 0o1777 if name == "tmp" else 0o755)
        os.setxattr(hidden, "trusted.overlay.opaque", b"y")
    mount("argosy", root, "overlay", data=f"lowerdir=/,upperdir={upper},workdir={work}")
    checked(LIBC.pivot_root(root.encode(), (root + MACHINE).encode()), "changing the root")
    os.chdir("/")


def make_devices() -> None:
    """Make the devices that a container has."""
    mount("dev", "/dev", "tmpfs", NOSUID, "mode=755")
    for name, numbers in DEVICES.items():
        os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(*numbers))
        os.chmod(f"/dev/{name}", 0o666)  # noqa: S103 (as everywhere)
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{target}", f"/dev/{name}")
    shared = "/dev/shm"  # noqa: S108 (the container's own)
    os.mkdir(shared)
    mount("shm", shared, "tmpfs", NOSUID | NODEV, "mode=1777,size=64m")


def write(path: str, text: str) -> None:
    """Write a file of the root anew; what stood there may be a link."""
    if os.path.lexists(path):
        os.unlink(path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o644)


def bind(source: str, target: str) -> None:
    """Show a folder or file of the machine, with what is mounted in it, at a path of the container."""
    shown = MACHINE + source
    if os.path.isdir(shown):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_CLOEXEC))
    mount(shown, target, flags=BIND | REC)


def become(room: dict[str, Any]) -> None:
    """Keep the rights that the container has, and become its user."""
    number = 0
    while LIBC.prctl(CAPBSET_READ, number, 0, 0, 0) >= 0:
        if number not in room["capabilities"]:
            checked(LIBC.prctl(CAPBSET_DROP, number, 0, 0, 0), "dropping a capability")
        number += 1
    os.setgroups(room["groups"])
    os.setresgid(room["group"], room["group"], room["group"])
    os.setresuid(room["user"], room["user"], room["user"])
    if room["no_new_privileges"]:
        checked(LIBC.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0), "giving up new privileges")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
