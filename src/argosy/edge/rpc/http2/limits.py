"""What a peer may cost us."""

from typing import Final

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one connection, sizes in bytes.

    `queue_bytes` is what may wait for a peer that gives no window; `header_bytes` bounds a block as it comes and the
    list that it means. `idle_frames` are frames that bring nothing (PING, SETTINGS, empty DATA …): so many at once, and
    `idle_frames_per_s` for ever. `resets` is how many more streams a peer may break off
    without an answer than it ends.
    """

    streams: int = 50_000
    stream_window: int = 1024 * 1024
    connection_window: int = 16 * 1024 * 1024
    header_bytes: int = 64 * 1024
    continuations: int = 16
    queue_bytes: int = 256 * 1024 * 1024
    idle_frames: int = 20_000
    idle_frames_per_s: float = 2_000.0
    resets: int = 10_000


DEFAULT: Final = Limits()


class Allowance:
    """So much at once, and so much per second for ever."""

    __slots__ = ("_at_once", "_left", "_per_s", "_then_s")

    def __init__(self, at_once: float, per_s: float) -> None:
        self._at_once = self._left = at_once
        self._per_s = per_s
        self._then_s: float | None = None

    def pass_time(self, now_s: float) -> None:
        """Take note of the time."""
        if self._then_s is not None:
            self.earn((now_s - self._then_s) * self._per_s)
        self._then_s = now_s

    def earn(self, amount: float) -> None:
        """Allow so much more, up to what is allowed at once."""
        self._left = min(self._at_once, self._left + amount)

    def spend(self, amount: float) -> bool:
        """Take so much; say whether it was allowed."""
        self._left -= amount
        return self._left >= 0
