"""Who is looked at, where a pool has more endpoints than are worth judging.

Rules of this file:

- At most `MAX_CANDIDATES`, whatever the pool's size: those that hold most of the prompt, where the session was, where
  the adapter is loaded, and the rest by fewest requests under way, equals in turn.
- Endpoints are numbers, sets of them bits of an int; only endpoints of the given set are ever nominated.
"""

from itertools import islice
from typing import Final

from argosy.base.numbering import from_number
from argosy.decide.prefixes.index import Match

MAX_CANDIDATES: Final = 32
HOLDERS: Final = 12
ADAPTERS: Final = 8


class Crowds:
    """Endpoints by their requests under way."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._by_count: dict[int, int] = {}
        self._turn = 0

    def changed(self, number: int, count: int) -> None:
        """Take in how many requests are under way at an endpoint."""
        before = self._counts.get(number)
        if before != count:
            if before is not None:
                self._take(number, before)
            self._counts[number] = count
            self._by_count[count] = self._by_count.get(count, 0) | 1 << number

    def picked(self, number: int) -> None:
        """Take in that an endpoint has had its turn."""
        self._turn = number + 1

    def forget(self, number: int) -> None:
        """Forget an endpoint that is gone."""
        before = self._counts.pop(number, None)
        if before is not None:
            self._take(number, before)

    def least(self, among: int, limit: int) -> int:
        """Give at most `limit` of these endpoints, fewest requests first; those never heard of have none."""
        found, room = 0, limit
        known = 0
        for holding in self._by_count.values():
            known |= holding
        for count in sorted({0, *self._by_count}):
            group = self._by_count.get(count, 0) & among
            if count == 0:
                group |= among & ~known
            if group.bit_count() <= room:
                found |= group
                room -= group.bit_count()
                continue
            for number in islice(from_number(group, self._turn), room):
                found |= 1 << number
            break
        return found

    def _take(self, number: int, count: int) -> None:
        left = self._by_count[count] & ~(1 << number)
        if left:
            self._by_count[count] = left
        else:
            del self._by_count[count]


def nominated(among: int, match: Match, session: int, adapter: int, crowds: Crowds) -> int:
    """Give the candidates among these endpoints; `session` and `adapter` are sets."""
    if among.bit_count() <= MAX_CANDIDATES:
        return among
    found = match.holders(among, HOLDERS) | session & among
    having = adapter & among & ~found
    if having.bit_count() > ADAPTERS:
        having = crowds.least(having, ADAPTERS)
    found |= having
    return found | crowds.least(among & ~found, MAX_CANDIDATES - found.bit_count())
