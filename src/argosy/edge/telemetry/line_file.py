"""Lines for later, in a file that is rotated by size, written while the work goes on.

Rules of this file:

- Who gives a line never waits: what finds the queue full is dropped, and counted.
- One task empties the queue, and a thread encodes and writes, so a slow disk holds up nothing but the file.
- Every file stands by itself: what a line is about stands before it in the same file, once.
- A file that cannot be written is told of once, until it can be again; what is lost is counted. A line that was cut off
  is ended by the next one, and is for its reader to leave out.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final, Generic, Literal, TextIO, TypeVar

from argosy.base.errors import UserError

log = logging.getLogger(__name__)
Result = Literal["written", "dropped", "failed"]
MAX_QUEUED: Final = 4096
FILES: Final = 4
"""The file and those before it, `NAME.1` being the newest of these."""
GATHER_S: Final = 0.5
"""How long lines are gathered before they are written together."""
MAX_ABOUT: Final = 16
"""Things that lines are about, which are remembered to be in the file."""
L = TypeVar("L")
A = TypeVar("A")


class _Rotated(RotatingFileHandler):
    """The standard library's rotation, without its way with errors: it swallows them."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=FILES - 1, encoding="utf-8", delay=True)
        self._before = ""

    def rotated_for(self, text: str) -> bool:
        """Begin a new file where this one has no room; say whether that was done. Raises OSError."""
        size = self._opened().tell()
        if size == 0 or size + len(text) <= self.maxBytes:
            return False
        self.doRollover()
        return True

    def append(self, text: str) -> None:
        """Raises OSError, after which nothing of the text is kept for later."""
        stream = self._opened()
        try:
            stream.write(self._before + text)
            stream.flush()
            self._before = ""
        except OSError:
            self.stream = None
            with contextlib.suppress(OSError):
                stream.close()
            raise

    def _opened(self) -> TextIO:
        if self.stream is None:
            self.stream = self._open()
            # The last line of an earlier process may have been cut off.
            self._before = "\n" if self.stream.tell() else ""
        return self.stream


class LineFile(Generic[L, A]):
    """Takes lines, and what they are about.

    `encode` gives the text of a line, with the number of what it is about, and `introduce` the line that gives a thing
    its number. Neither may fail. `count` is told what became of so many lines, always in the event loop.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        encode: Callable[[int, L], str],
        introduce: Callable[[int, A], str],
        count: Callable[[Result, int], None],
    ) -> None:
        self._path = path
        # All files together have the size that was asked for.
        self._file = _Rotated(path, max_bytes // FILES)
        self._encode = encode
        self._introduce = introduce
        self._count = count
        self._queue: deque[tuple[L, A]] = deque()
        self._some = asyncio.Event()
        self._closing = asyncio.Event()
        self._numbers: dict[int, tuple[int, A]] = {}
        self._last = 0
        self._fails = False

    def put(self, line: L, about: A) -> None:
        """Have a line written, after a line on what it is about: the very same object until that changes."""
        if len(self._queue) >= MAX_QUEUED:
            self._count("dropped", 1)
            return
        self._queue.append((line, about))
        self._some.set()

    async def write_until_closed(self) -> None:
        """Write what is put, until `close`; then what is left."""
        while self._queue or not self._closing.is_set():
            await self._some.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), GATHER_S)
            self._some.clear()
            lines = tuple(self._queue)
            self._queue.clear()
            failed = await asyncio.to_thread(self._write, lines)
            self._count("failed", failed)
            self._count("written", len(lines) - failed)
        self._file.close()

    def close(self) -> None:
        """Take no more lines."""
        self._closing.set()
        self._some.set()

    def _write(self, lines: tuple[tuple[L, A], ...]) -> int:
        """Write; give how many could not be."""
        failed = 0
        for line, about in lines:
            try:
                text = self._text(line, about)
                if self._file.rotated_for(text):
                    self._numbers.clear()
                    text = self._text(line, about)
                self._file.append(text)
            except OSError as error:
                self._numbers.clear()
                failed += 1
                if not self._fails:
                    log.warning("%s cannot be written: %s", self._path, error.strerror)
                self._fails = True
            else:
                if self._fails:
                    log.warning("%s is written again", self._path)
                self._fails = False
        return failed

    def _text(self, line: L, about: A) -> str:
        known = self._numbers.get(id(about))
        if known is not None:
            return f"{self._encode(known[0], line)}\n"
        if len(self._numbers) >= MAX_ABOUT:
            self._numbers.clear()
        self._last += 1
        # Kept with its number, so that no other object gets its identity.
        self._numbers[id(about)] = (self._last, about)
        return f"{self._introduce(self._last, about)}\n{self._encode(self._last, line)}\n"


@contextlib.asynccontextmanager
async def written(file: LineFile[L, A]) -> AsyncIterator[LineFile[L, A]]:
    """Write a file while the context lasts; all that was put by then is written when it ends."""
    writing = asyncio.create_task(file.write_until_closed())
    try:
        yield file
    finally:
        file.close()
        await writing


def lines_of(path: Path) -> Iterator[bytes]:
    """Give the lines of a file and of those before it, oldest first. Raises `UserError` when there is none to read."""
    before = (path.with_name(f"{path.name}.{number}") for number in range(FILES - 1, 0, -1))
    try:
        for each in (*before, path):
            if each == path or each.exists():
                with each.open("rb") as file:
                    yield from file
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
