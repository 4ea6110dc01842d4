"""One child process: started, waited for, ended with all that it started itself.

Rules of this file:

- Every child is the leader of a session and process group of its own: a terminal's Ctrl-C does not reach it, and it
  ends together with its group.
- Children are started on the main thread: the kernel ends them when the thread that started them ends (launcher.py).
- A child's end is seen through its pidfd, before it is reaped; so its process group is killed while its number cannot
  have been given to another.

    PeerError
    └── SpawnFailed   the child could not be started: no memory, no log file, no such folder
"""

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from argosy.base.errors import CallerError, PeerError
from argosy.edge.processes.logfile import LogFile

_LAUNCHER = Path(__file__).with_name("launcher.py")


class SpawnFailed(PeerError):  # noqa: N818 (named for the state)
    """The child could not be started; the message says why."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: the program and its arguments, its whole environment, its folder (ours when None)."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = {}
    cwd: Path | None = None


class Exit(msgspec.Struct, frozen=True):
    """How a process ended: its exit code, or the negative number of the signal that killed it."""

    code: int

    @property
    def shell_code(self) -> int:
        """The exit code as shells and Kubernetes count: 128 and the signal's number for a signal."""
        return self.code if self.code >= 0 else 128 - self.code

    def __str__(self) -> str:
        if self.code >= 0:
            return f"exit code {self.code}"
        with contextlib.suppress(ValueError):
            return f"killed by signal {-self.code} ({signal.Signals(-self.code).name})"
        return f"killed by signal {-self.code}"


class Process:
    """A running child. Made by `spawn`; whoever made it ends it with `terminate` or `kill` and waits."""

    def __init__(self, popen: subprocess.Popen[bytes], log: LogFile, log_start: int) -> None:
        self.pid = popen.pid
        self.log = log
        self.log_start = log_start
        self._popen = popen
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        self._pidfd = os.pidfd_open(popen.pid)
        self._loop.add_reader(self._pidfd, self._ended)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._exit.done()

    async def wait(self) -> Exit:
        """Wait until it has ended."""
        return await asyncio.shield(self._exit)

    async def terminate(self, grace_s: float) -> Exit:
        """Ask it to end with SIGTERM; after `grace_s` seconds kill it and its group.

        It alone is asked, as container runtimes do: what becomes of its own children is its business until then.
        """
        if self.running:
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
        await asyncio.wait({self._exit}, timeout=grace_s)
        self.kill()
        return await self.wait()

    def kill(self) -> None:
        """Kill it and its group at once."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """Give the last lines that it wrote."""
        return self.log.tail(since=self.log_start)

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.kill()
        self._exit.set_result(Exit(self._popen.wait()))


def spawn(command: Command, log: LogFile) -> Process:
    """Start a child that appends stdout and stderr to `log` and reads nothing. Raises `SpawnFailed`.

    A program that does not exist is not seen here: the child then ends with code 126 or 127 and says so in its log.
    """
    if threading.current_thread() is not threading.main_thread():
        raise CallerError("children are started on the main thread")
    try:
        log_start = log.size
        output = log.open()
    except OSError as error:
        raise SpawnFailed(f"cannot write the log file {log.path}: {_reason(error)}") from error
    try:
        popen = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), "--", *command.argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=command.cwd,
            env=dict(command.env),
            start_new_session=True,
        )
    except OSError as error:
        raise SpawnFailed(f"cannot start {command.argv[0]}: {_reason(error)}") from error
    finally:
        os.close(output)
    try:
        return Process(popen, log, log_start)
    except OSError as error:
        popen.kill()
        popen.wait()
        raise SpawnFailed(f"cannot watch {command.argv[0]}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    return f"{error.strerror}" + (f": {error.filename}" if error.filename else "")
