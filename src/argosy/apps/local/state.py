"""The state directory of an instance: where its socket, lock and logs are, and who holds it.

Rules of this file:

- Whoever holds the lock is the instance's supervisor; the lock file carries its process id. The kernel releases the
  lock when that process ends, however it ends, so what a killed supervisor left behind is never taken for running.
"""

import errno
import fcntl
import os
import time
from pathlib import Path
from typing import IO

import msgspec

from argosy.base.errors import UserError
from argosy.edge.processes.engine_python import EnginePython

SOCKET_PATH_BYTES = 104
"""The longest path of a unix socket: 108 bytes in Linux less a margin for the terminating byte and suffixes."""
LOCK_ATTEMPTS = 5
"""Tries 50 ms apart, since whoever only asks for the supervisor's id holds the lock for an instant."""
MAX_SUPERVISOR_LOG_BYTES = 1 << 20


class StateDirectory(msgspec.Struct, frozen=True):
    """The files of one instance."""

    root: Path

    @property
    def socket(self) -> Path:
        """The object store's unix socket."""
        return self.root / "store.sock"

    @property
    def address(self) -> str:
        """The store's address, as processes are given it."""
        return f"unix://{self.socket}"

    @property
    def logs(self) -> Path:
        """The folder of log files: NAMESPACE/POD.log."""
        return self.root / "logs"

    def logs_of(self, namespace: str) -> Path:
        """Give the folder for the pods of a namespace; it is made when it is not there."""
        folder = self.logs / namespace
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    @property
    def scheduling(self) -> Path:
        """The scheduling file of the picker: a link to the user's, or nothing."""
        return self.root / "scheduling.yaml"

    def schedule_by(self, file: Path | None) -> None:
        """Have the picker schedule by a file from now on, or as it does without one. Raises `UserError`."""
        try:
            if file is None:
                self.scheduling.unlink(missing_ok=True)
                return
            # The picker never finds nothing in its place.
            link = self.root / ".scheduling.yaml"
            link.unlink(missing_ok=True)
            link.symlink_to(file.absolute())
            link.replace(self.scheduling)
        except OSError as error:
            raise disk_error(self.scheduling, error) from error

    @property
    def engine_python(self) -> EnginePython | None:
        """What serves with vLLM in this instance; None where nothing does."""
        try:
            return msgspec.json.decode(self._engine_file.read_bytes(), type=EnginePython)
        except (OSError, msgspec.DecodeError):
            return None

    def serve_by(self, engine: EnginePython | None) -> None:
        """Say what serves with vLLM, before a supervisor starts. Raises `UserError`."""
        try:
            if engine is None:
                self._engine_file.unlink(missing_ok=True)
            else:
                self._engine_file.write_bytes(msgspec.json.encode(engine))
        except OSError as error:
            raise disk_error(self._engine_file, error) from error

    @property
    def _engine_file(self) -> Path:
        return self.root / "engine-python.json"

    @property
    def supervisor_log(self) -> Path:
        """What a detached supervisor writes."""
        return self.root / "supervisor.log"

    def open_supervisor_log(self) -> IO[bytes]:
        """Open what a detached supervisor writes to, at its end; one that has grown long begins anew."""
        descriptor = os.open(self.supervisor_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if os.fstat(descriptor).st_size > MAX_SUPERVISOR_LOG_BYTES:
            os.ftruncate(descriptor, 0)
        handle = os.fdopen(descriptor, "ab")
        handle.seek(0, os.SEEK_END)
        return handle

    @property
    def lock(self) -> Path:
        """The file that the supervisor holds locked."""
        return self.root / "supervisor.lock"

    def prepare(self) -> None:
        """Make the folders, for this user alone. Raises UserError with the reason when that fails."""
        if len(os.fsencode(self.socket)) > SOCKET_PATH_BYTES:
            raise UserError(
                f"{self.root}: the path is too long for a unix socket; choose a shorter one with --state-dir"
            )
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            probe = self.root / ".write-probe"
            try:
                probe.write_bytes(b"\0" * 65536)
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(self.root, error) from error

    def acquire(self) -> IO[str] | None:
        """Take the lock and write our process id; None when another process holds it."""
        try:
            handle = self.lock.open("a+")
        except OSError as error:
            raise disk_error(self.lock, error) from error
        for attempt in range(LOCK_ATTEMPTS):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == LOCK_ATTEMPTS - 1:
                    handle.close()
                    return None
                time.sleep(0.05)
        _write_pid(handle, os.getpid())
        return handle

    def hand_over(self, held: IO[str], pid: int) -> None:
        """Leave the lock to a process that has inherited it: it holds on when our own handle is closed."""
        _write_pid(held, pid)
        held.close()

    def take_over(self, descriptor: int) -> IO[str]:
        """Hold the lock that was inherited as an open file."""
        held = os.fdopen(descriptor, "r+")
        _write_pid(held, os.getpid())
        return held

    def supervisor_pid(self) -> int | None:
        """Give the process id of the running supervisor, or None when there is none."""
        try:
            with self.lock.open("r") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    text = handle.read().strip()
                    return int(text) if text.isdecimal() else None
                return None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk_error(self.root, error) from error


def _write_pid(held: IO[str], pid: int) -> None:
    held.seek(0)
    held.truncate()
    held.write(str(pid))
    held.flush()


def disk_error(path: Path, error: OSError) -> UserError:
    """Say in words why a file could not be written, and what to do."""
    fixes = {
        errno.ENOSPC: "the disk is full; free some space, or choose another disk with --state-dir",
        errno.EDQUOT: "the disk quota is used up; free some space, or choose another disk with --state-dir",
        errno.EACCES: "this user may not write there; choose another folder with --state-dir",
        errno.EROFS: "the file system is read-only; choose another folder with --state-dir",
        errno.ENOTDIR: "a part of the path is a file; choose another folder with --state-dir",
        errno.EEXIST: "a file stands where a folder is needed; choose another folder with --state-dir",
    }
    return UserError(f"cannot use {path}: {fixes.get(error.errno or 0, error.strerror)}")
