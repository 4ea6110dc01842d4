"""States that wait to be pulled: bounded in bytes, each for a while only.

Rules of this file:
- Room is taken before anything is written and given back when the file is gone, whatever happens in between.
- A state leaves by its pull, broken or not, by its deadline, or because its answer never reached anybody.
- Threads of slots and of transfers call in; deadlines and `until_empty` belong to the event loop.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from argosy.edge.transfer.sending import Parcel


class Held:
    """The states of one engine, by ticket. `expired` is called in the loop for each that nobody came for."""

    def __init__(self, *, room_bytes: int, deadline_s: float, expired: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._room_bytes = room_bytes
        self._deadline_s = deadline_s
        self._expired = expired
        self._lock = threading.Lock()
        self._taken_bytes = 0
        self._waiting: dict[str, tuple[bytes, Path, int]] = {}
        self._sending = 0
        self._changed = asyncio.Event()

    @property
    def states(self) -> int:
        """How many wait or are on their way."""
        return len(self._waiting) + self._sending

    @property
    def taken_bytes(self) -> int:
        """How much room is taken."""
        return self._taken_bytes

    def reserve(self, size_bytes: int) -> bool:
        """Take room; False when there is not enough."""
        with self._lock:
            if self._taken_bytes + size_bytes > self._room_bytes:
                return False
            self._taken_bytes += size_bytes
            return True

    def release(self, size_bytes: int) -> None:
        """Give room back."""
        with self._lock:
            self._taken_bytes -= size_bytes

    def put(self, ticket: str, *, header: bytes, path: Path, size_bytes: int) -> None:
        """Keep a state, whose room is taken, until it is pulled or its time is over."""
        with self._lock:
            self._waiting[ticket] = header, path, size_bytes
        self._tell()
        self._call(lambda: self._loop.call_later(self._deadline_s, self._expire, ticket))

    def take(self, ticket: str) -> Parcel | None:
        """Give a state to its pull."""
        with self._lock:
            found = self._waiting.pop(ticket, None)
            if found is None:
                return None
            self._sending += 1
        header, path, size_bytes = found

        def sent(_acknowledged: bool) -> None:  # noqa: FBT001 - what a parcel calls
            self._forget(path, size_bytes)
            with self._lock:
                self._sending -= 1
            self._tell()

        return Parcel(header=header, path=path, sent=sent)

    def drop(self, ticket: str) -> bool:
        """Forget a state that nobody will come for; False when it is gone already."""
        with self._lock:
            found = self._waiting.pop(ticket, None)
        if found is None:
            return False
        self._forget(*found[1:])
        self._tell()
        return True

    async def until_empty(self) -> None:
        """Wait until no state waits or is on its way."""
        while self.states:
            self._changed.clear()
            await self._changed.wait()

    def _forget(self, path: Path, size_bytes: int) -> None:
        path.unlink(missing_ok=True)
        self.release(size_bytes)

    def _expire(self, ticket: str) -> None:
        if self.drop(ticket):
            self._expired()

    def _tell(self) -> None:
        self._call(self._changed.set)

    def _call(self, act: Callable[[], object]) -> None:
        """Have the loop do this, if it has not ended; transfers may go on for a moment longer."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(act)
