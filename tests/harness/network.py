"""A network of its own for a test: a namespace in which nothing but loopback exists, until nodes add their pods.

Rules of this file:

- A namespace has no name and no file: it lives while this process holds it open or a process runs in it, so whatever
  ends the test, even SIGKILL, nothing is left.
- A thread is in one namespace; what it starts is born there, and a socket stays where it was made. `inside` moves the
  calling thread there and back.
- Every address of `CLUSTER_RANGE` answers inside, so that each server and pod may have one of its own.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from types import TracebackType
from typing import Self

CLUSTER_RANGE = "10.245.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
POD_RANGE = "10.244.0.0/16"
API_ADDRESS = "10.245.0.1"
NAME_SERVER = "10.245.0.10"
NEWNET = 0x40000000
HERE = "/proc/thread-self/ns/net"
LIBC = ctypes.CDLL(None, use_errno=True)


def no_network_reason() -> str | None:
    """Say why no network namespace can be made here, or None."""
    if os.geteuid() != 0:
        return "root is needed for a network namespace"
    if shutil.which("ip") is None:
        return "the command ip is needed (Debian: iproute2)"
    home = os.open(HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        checked(LIBC.unshare(NEWNET))
        checked(LIBC.setns(home, NEWNET))
    except OSError as error:
        return f"no network namespace can be made: {error.strerror}"
    finally:
        os.close(home)
    return None


class Network:
    """A network namespace, from `with` until its last process ends."""

    def __enter__(self) -> Self:
        with back_home():
            checked(LIBC.unshare(NEWNET))
            self._namespace = os.open(HERE, os.O_RDONLY | os.O_CLOEXEC)
            ip("link set lo up", f"route add local {CLUSTER_RANGE} dev lo")
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        os.close(self._namespace)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Be in it, this thread and what it starts, until the block ends."""
        with back_home():
            checked(LIBC.setns(self._namespace, NEWNET))
            yield


@contextlib.contextmanager
def back_home() -> Iterator[None]:
    """Bring this thread back to the network that it is in, when the block ends."""
    home = os.open(HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        checked(LIBC.setns(home, NEWNET))
        os.close(home)


def ip(*commands: str) -> None:
    """Run commands of iproute2's `ip`, in one process. Raises `CalledProcessError`."""
    lines = "".join(f"{command}\n" for command in commands)
    subprocess.run(["ip", "-batch", "-"], input=lines, check=True, text=True, timeout=10)  # noqa: S607


def checked(result: int) -> None:
    """Raise `OSError` when a call of the C library has failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
