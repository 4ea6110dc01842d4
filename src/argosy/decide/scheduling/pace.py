"""How much longer an answer takes for the work before it: a straight line through what was measured lately.

Whoever has a long prompt to compute is not slow for it: endpoints are compared by what is left without that.
"""

from typing import Final

_MEMORY: Final = 0.99
"""What is left of a measurement's weight at the next one."""
_LEAST_S: Final = 1e-4


class Pace:
    """Seconds of an answer as `fixed + work * per_block`, both at least 0, by weighted least squares."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._work = 0.0
        self._seconds = 0.0
        self._work_work = 0.0
        self._work_seconds = 0.0

    def measured(self, work: float, seconds: float) -> float:
        """Take in an answer after so many blocks of work; gives the seconds that it would take after the usual work."""
        self._weight = _MEMORY * self._weight + 1.0
        self._work = _MEMORY * self._work + work
        self._seconds = _MEMORY * self._seconds + seconds
        self._work_work = _MEMORY * self._work_work + work * work
        self._work_seconds = _MEMORY * self._work_seconds + work * seconds
        usual = self.expected(self._work / self._weight)
        return max(seconds, _LEAST_S) * max(usual, _LEAST_S) / max(self.expected(work), _LEAST_S)

    def expected(self, work: float) -> float:
        """Give the seconds that an answer takes after so many blocks of work."""
        weight = self._weight
        spread = weight * self._work_work - self._work * self._work
        slope = (weight * self._work_seconds - self._work * self._seconds) / spread if spread > 1e-9 else 0.0
        slope = max(slope, 0.0)
        fixed = (self._seconds - slope * self._work) / weight
        if fixed < 0.0:
            # Through the origin then, which explains most of what a line below it does.
            return work * self._work_seconds / self._work_work
        return fixed + slope * work
