"""Chunks on their way from a generating thread to the event loop.

Rules of this file:
- The thread never waits for the loop unless `LIMIT_BYTES` are on their way: then the client reads slower than the model
  writes, and the thread waits.
- Cancelled, the channel says so to the thread at its next chunk, and wakes it if it waits.
- The lock is held for a few instructions only, so the loop may take it.
"""

import asyncio
import threading
from typing import Any, Final

from argosy.engines.moved import NotMoved

LIMIT_BYTES: Final = 256 * 1024


class Channel:
    """One answer's chunks. `put` and `close` belong to the thread, `take` and `cancel` to the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_bytes: int = LIMIT_BYTES) -> None:
        self._loop = loop
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._chunks: list[bytes] = []
        self._pending_bytes = 0
        self._cancelled = False
        self._closed = False
        self.refusal: str | None = None
        self.kv_transfer: dict[str, Any] | None = None
        """Set before the end: where the state of the prompt is kept."""
        self.moved_tokens = 0
        """Set before the first chunk: how many tokens' state came from another engine."""
        self.not_moved: NotMoved | None = None
        """Set before the first chunk: why none did, though it was to."""
        self.cached_tokens = 0
        """Set before the first chunk: how many tokens of the prompt are not computed."""
        self._readable = asyncio.Event()

    def put(self, chunk: bytes) -> bool:
        """Hand over one chunk; wait while too many are on their way. Says True when nobody wants more."""
        with self._changed:
            while self._pending_bytes >= self._limit_bytes and not self._cancelled:
                self._changed.wait()
            if self._cancelled:
                return True
            first = not self._chunks
            self._chunks.append(chunk)
            self._pending_bytes += len(chunk)
        if first:
            self._loop.call_soon_threadsafe(self._readable.set)
        return False

    @property
    def cancelled(self) -> bool:
        """Nobody wants more."""
        return self._cancelled

    def close(self, refusal: str | None = None) -> None:
        """Say that no chunk follows; `refusal` is why there was none at all."""
        with self._changed:
            self._closed = True
            self.refusal = refusal
        self._loop.call_soon_threadsafe(self._readable.set)

    async def take(self) -> list[bytes]:
        """Wait for chunks and take all that are there; an empty list is the end."""
        while True:
            await self._readable.wait()
            self._readable.clear()
            with self._changed:
                chunks, self._chunks = self._chunks, []
                self._pending_bytes = 0
                closed = self._closed
                self._changed.notify_all()
            if closed:
                self._readable.set()
            if chunks or closed:
                return chunks

    def cancel(self) -> None:
        """Ask the thread to stop."""
        with self._changed:
            self._cancelled = True
            self._chunks.clear()
            self._changed.notify_all()
