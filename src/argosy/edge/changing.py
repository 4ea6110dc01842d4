"""Files that change while they are in use, as the kubelet changes those of a Secret or a ConfigMap.

    files = ChangingFiles(paths, read, fix="what to do")   # raises UserError
    files.content                                          # the last good content
    files.changed()                                        # looks once; says whether `content` is another one now

Rules of this file:

- A file is read again when another one has come in its place or it was written: by inode, size and time.
- What has changed is taken only when it can be read whole. Until then the last good content is in force, and the log
  says why.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from argosy.base.errors import UserError

log = logging.getLogger(__name__)
T = TypeVar("T")
_Stamp = tuple[tuple[int, int, int] | None, ...]
_UNUSABLE: Final = (OSError, ValueError, UserError)
"""What reading raises; ssl's errors are of the first kind."""


class ChangingFiles(Generic[T]):
    """Files and what they hold together. `usable` says whether what they hold now is in force.

    Made with `UserError` when they cannot be used, unless there is something `otherwise`, which holds until they can.
    """

    def __init__(self, paths: tuple[Path, ...], read: Callable[[], T], *, fix: str, otherwise: T | None = None) -> None:
        self._paths = paths
        self._read = read
        self._seen = self._stamp()
        self.usable = True
        try:
            self.content = read()
        except _UNUSABLE as error:
            unusable = f"{_names(paths)} cannot be used: {error}; {fix}"
            if otherwise is None:
                raise UserError(unusable) from error
            log.error("%s", unusable)  # noqa: TRY400 - the sentence says all
            self.content, self.usable = otherwise, False

    def changed(self) -> bool:
        """Take new content in; say whether there is any."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        try:
            content = self._read()
        except _UNUSABLE as error:
            log.warning("%s changed and cannot be used, what they held before is: %s", _names(self._paths), error)
            self.usable = False
            return False
        self.usable = True
        before, self.content = self.content, content
        return before != content

    def _stamp(self) -> _Stamp:
        return tuple(map(_stamp_of, self._paths))


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _names(paths: tuple[Path, ...]) -> str:
    return " and ".join(map(str, paths))
