"""How long a child that ended waits for its next start."""

from typing import Self

import msgspec

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
STABLE_S = 30.0
"""One that ran for so long counts as healthy: its next end is the first again."""


class Backoff(msgspec.Struct, frozen=True):
    """The state between two starts: ends in a row, each after less than `STABLE_S`."""

    ends: int = 0

    def after_end(self, ran_s: float) -> Self:
        """Give the state after an end; `ran_s` is how long the child had run."""
        return type(self)(1 if ran_s >= STABLE_S else self.ends + 1)

    @property
    def delay_s(self) -> float:
        """Seconds until the next start: none at first, then 0.5 s doubling to 30 s."""
        if self.ends <= 1:
            return 0.0
        return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self.ends - 2, 16))
