"""What a child writes: one file, bounded, with the last part of what went before in a second one.

Rules of this file:

- Children write with O_APPEND into the file itself, so nothing of them passes through the supervisor.
- Above `max_bytes` the file is copied to `NAME.1` and emptied in place, since a child cannot be made to open another.
  What it writes between copy and emptying is lost. Where no space is left for the copy, emptying comes first.
"""

import contextlib
import os
import shutil
from pathlib import Path

import msgspec

MAX_BYTES = 8 * 1024 * 1024
TAIL_BYTES = 4096


class LogFile(msgspec.Struct, frozen=True):
    """A log of one container; two files of `max_bytes` and what one check period adds to the first."""

    path: Path
    max_bytes: int = MAX_BYTES

    def open(self) -> int:
        """Give a descriptor to append to; the caller closes it. Raises OSError."""
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    @property
    def size(self) -> int:
        """Bytes in the file; 0 when there is none."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def bound(self) -> None:
        """Move what is there aside when it is too much."""
        if self.size <= self.max_bytes:
            return
        aside = self.path.with_name(f"{self.path.name}.1")
        try:
            shutil.copy(self.path, aside)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # removed meanwhile: nothing to bound
            os.truncate(self.path, 0)

    def tail(self, *, since: int = 0, lines: int = 3) -> str:
        """Give the last lines written after byte `since`, joined by ` | `; empty when there are none."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(since if since <= size else 0, size - TAIL_BYTES))
                text = file.read(TAIL_BYTES).decode(errors="replace")
        except OSError:
            return ""
        return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())

    @property
    def disk_full(self) -> bool:
        """Whether nothing more can be written to its disk."""
        try:
            return os.statvfs(self.path.parent).f_bavail == 0
        except OSError:
            return False
