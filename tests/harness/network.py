"""A network of its own for a test: a namespace in which nothing but loopback exists.

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
_CLONE_NEWNET = 0x40000000
_HERE = "/proc/thread-self/ns/net"
_LIBC = ctypes.CDLL(None, use_errno=True)


def no_network_reason() -> str | None:
    """Say why no network namespace can be made here, or None."""
    if os.geteuid() != 0:
        return "root is needed for a network namespace"
    if shutil.which("ip") is None:
        return "the command ip is needed (Debian: iproute2)"
    home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_LIBC.unshare(_CLONE_NEWNET))
        _checked(_LIBC.setns(home, _CLONE_NEWNET))
    except OSError as error:
        return f"no network namespace can be made: {error.strerror}"
    finally:
        os.close(home)
    return None


class Network:
    """A network namespace, from `with` until its last process ends."""

    def __enter__(self) -> Self:
        with _back_home():
            _checked(_LIBC.unshare(_CLONE_NEWNET))
            self._namespace = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
            for command in ("link set lo up", f"route add local {CLUSTER_RANGE} dev lo"):
                subprocess.run(["ip", *command.split()], check=True, timeout=10)  # noqa: S607
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        os.close(self._namespace)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Be in it, this thread and what it starts, until the block ends."""
        with _back_home():
            _checked(_LIBC.setns(self._namespace, _CLONE_NEWNET))
            yield


@contextlib.contextmanager
def _back_home() -> Iterator[None]:
    home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        _checked(_LIBC.setns(home, _CLONE_NEWNET))
        os.close(home)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
