"""A private folder for files that are memory, which no killed process leaves behind for long.

A folder is locked by whoever made it for as long as it lives. One that can be locked has lost its owner, and the next
process that makes one here removes it.
"""

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

from argosy.base.errors import UserError

_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - tmpfs on every Linux; a private folder is made in it
_PREFIX: Final = "argosy-kv-"
_NAME: Final = re.compile(f"{_PREFIX}[a-z0-9_]+")


class PrivateFolder:
    """A folder that only this process's user may enter. Raises UserError when it cannot be made."""

    def __init__(self, parent: Path) -> None:
        try:
            _remove_orphans(parent)
            self.path, self._lock = _made(parent)
        except OSError as error:
            raise UserError(f"{parent}: no folder can be made in it ({error.strerror}); name another") from None

    def take(self, other: str, name: str, here: str) -> bool:
        """Have a file of another process's folder beside this one too, as `here`; False when it is not to be had.

        That is the same file, which its owner may remove. The owner must be the same user.
        """
        if not _NAME.fullmatch(other) or "/" in name:
            return False
        path = self.path.parent / other / name
        try:
            there = path.lstat()
            if not stat.S_ISREG(there.st_mode) or there.st_uid != os.getuid():
                return False
            os.link(path, self.path / here, follow_symlinks=False)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def memory_folder(room_bytes: int) -> Path:
    """Give where files are memory, if `room_bytes` are free there; else the folder for temporary files."""
    with contextlib.suppress(OSError):
        room = os.statvfs(_SHARED_MEMORY)
        if room.f_bavail * room.f_frsize >= room_bytes and os.access(_SHARED_MEMORY, os.W_OK):
            return _SHARED_MEMORY
    return Path(tempfile.gettempdir())


def _made(parent: Path) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = os.open(path, os.O_RDONLY)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                return path, lock
        os.close(lock)  # somebody took the new folder for an orphan in the moment before it was locked


def _remove_orphans(parent: Path) -> None:
    for path in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.getuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
            finally:
                os.close(lock)
