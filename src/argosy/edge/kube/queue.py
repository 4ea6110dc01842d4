"""A work queue keyed by object: what is due is done once, however often it was asked for.

    queue = WorkQueue(rng=random.Random())
    queue.add(key)
    await queue.run(handle, workers=4)       # until cancelled

Rules of this file:

- A key is handled by one worker at a time. One that is added while it is handled is handled once more afterwards.
- A handler that raises `PeerError` has its key tried again after a back-off of that key's own, from `FIRST_S` to
  `LONGEST_S`, with jitter; success forgets the failures. Any other error is a bug and ends `run`.
- No key is lost, also when `run` ends and is begun again, and none is held twice: memory is bounded by the keys there
  are.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

from argosy.base.errors import PeerError

FIRST_S: Final = 0.1
LONGEST_S: Final = 60.0
_log = logging.getLogger(__name__)

KeyT = TypeVar("KeyT", bound=Hashable)


class WorkQueue(Generic[KeyT]):
    """Keys that are due, in the order in which they became so. Belongs to one event loop; `rng` spreads retries."""

    def __init__(self, *, rng: random.Random) -> None:
        self._rng = rng
        self._due: deque[KeyT] = deque()
        self._queued: set[KeyT] = set()
        self._handled: set[KeyT] = set()
        self._again: set[KeyT] = set()
        self._failures: dict[KeyT, int] = {}
        self._timers: dict[KeyT, asyncio.TimerHandle] = {}
        self._filled = asyncio.Semaphore(0)

    def __len__(self) -> int:
        """How many keys wait to be handled, now or later."""
        return len(self._due) + len(self._again) + len(self._timers)

    @property
    def idle(self) -> bool:
        """Whether nothing is due and nothing is being handled; keys whose time has not come do not count."""
        return not self._due and not self._handled

    def add(self, key: KeyT) -> None:
        """Have a key handled soon."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._handled:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._due.append(key)
            self._filled.release()

    def add_after(self, key: KeyT, delay_s: float) -> None:
        """Have a key handled after a time, unless it is due before."""
        if key in self._queued or key in self._again:
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + delay_s:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(delay_s, self.add, key)

    async def run(self, handle: Callable[[KeyT], Awaitable[None]], *, workers: int) -> None:
        """Handle keys as they come due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(handle))

    async def _work(self, handle: Callable[[KeyT], Awaitable[None]]) -> None:
        while True:
            key = await self._take()
            try:
                await handle(key)
            except PeerError as error:
                self._failures[key] = self._failures.get(key, 0) + 1
                _log.warning("%s is tried again: %s", key, error)
                self._done(key)
                self.add_after(key, self._backoff_s(self._failures[key]))
            except BaseException:
                # Nobody knows how far it got; whoever runs next begins it anew.
                self._again.add(key)
                self._done(key)
                raise
            else:
                self._failures.pop(key, None)
                self._done(key)

    async def _take(self) -> KeyT:
        await self._filled.acquire()
        key = self._due.popleft()
        self._queued.discard(key)
        self._handled.add(key)
        return key

    def _done(self, key: KeyT) -> None:
        self._handled.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _backoff_s(self, failures: int) -> float:
        longest = min(LONGEST_S, FIRST_S * 2.0 ** min(failures - 1, 16))
        return longest * self._rng.uniform(0.5, 1.0)
