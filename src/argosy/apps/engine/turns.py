"""Whose turn it is to compute: requests of one adapter together, first come, first served.

Rules of this file:
- llama.cpp computes together what is of one adapter only, and of several the lowest slot's until that has nothing left
  to do: a request of another one would wait for as long as there are requests of the first. So the turn is an adapter's
  (or the base model's), and passes when all that runs has ended.
- While its adapter has the turn, a request may go past others that came earlier: past each of them as many as there are
  places.
"""

import asyncio


class _Waiter:
    """A request that waits: what it asks for, and how many that came later were let in before it."""

    def __init__(self, adapter: str) -> None:
        self.adapter = adapter
        self.passed = 0
        self.admitted = asyncio.Event()


class Turns:
    """So many places, and who waits for one. Belongs to the event loop."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = 0
        self._adapter = ""
        self._waiting: list[_Waiter] = []

    @property
    def running(self) -> set[str]:
        """The adapter whose turn it is; empty where nothing runs."""
        return {self._adapter} if self._taken else set()

    @property
    def waiting(self) -> set[str]:
        """The adapters that are waited for."""
        return {waiter.adapter for waiter in self._waiting}

    async def take(self, adapter: str) -> None:
        """Wait for a place in a turn of this adapter."""
        waiter = _Waiter(adapter)
        self._waiting.append(waiter)
        self._admit()
        try:
            await waiter.admitted.wait()
        except asyncio.CancelledError:
            if waiter.admitted.is_set():
                self.give_back()
            else:
                self._waiting.remove(waiter)
                self._admit()
            raise

    def give_back(self) -> None:
        """Leave a place."""
        self._taken -= 1
        self._admit()

    def _admit(self) -> None:
        while self._taken < self._places and (number := self._next()) is not None:
            for earlier in self._waiting[:number]:
                earlier.passed += 1
            waiter = self._waiting.pop(number)
            self._taken += 1
            self._adapter = waiter.adapter
            waiter.admitted.set()

    def _next(self) -> int | None:
        """Give the number of the waiting request that may begin."""
        for number, waiter in enumerate(self._waiting):
            if not self._taken or waiter.adapter == self._adapter:
                return number
            if waiter.passed >= self._places:
                return None
        return None
