"""Small numbers for endpoints, so that a set of endpoints is an int whose bits are numbers.

Sets of a thousand endpoints are joined and cut in well under a microsecond that way.
"""

from collections.abc import Collection, Iterable, Iterator

from argosy.base.endpoint import Endpoint


class Numbering:
    """Numbers of endpoints; those of endpoints that are gone are given to those that come."""

    def __init__(self) -> None:
        self._numbers: dict[Endpoint, int] = {}
        self._endpoints: list[Endpoint | None] = []
        self._free: list[int] = []

    def of(self, endpoint: Endpoint) -> int:
        """Give the endpoint's number, a new one if it has none."""
        number = self._numbers.get(endpoint)
        if number is None:
            if self._free:
                number = self._free.pop()
                self._endpoints[number] = endpoint
            else:
                number = len(self._endpoints)
                self._endpoints.append(endpoint)
            self._numbers[endpoint] = number
        return number

    def endpoint(self, number: int) -> Endpoint:
        """Give the endpoint that has a number. Raises `KeyError` when none has it."""
        found = self._endpoints[number] if number < len(self._endpoints) else None
        if found is None:
            raise KeyError(number)
        return found

    def set_of(self, endpoints: Iterable[Endpoint]) -> int:
        """Give the set of these endpoints."""
        found = 0
        for endpoint in endpoints:
            found |= 1 << self.of(endpoint)
        return found

    def keep_only(self, endpoints: Collection[Endpoint]) -> list[int]:
        """Take the numbers of all other endpoints back; gives them."""
        gone = [number for endpoint, number in self._numbers.items() if endpoint not in endpoints]
        for number in gone:
            endpoint = self._endpoints[number]
            self._endpoints[number] = None
            if endpoint is not None:
                del self._numbers[endpoint]
        self._free.extend(gone)
        return gone


def members(of: int) -> Iterator[int]:
    """Give the numbers in a set, least first."""
    while of:
        lowest = of & -of
        yield lowest.bit_length() - 1
        of ^= lowest


def from_number(of: int, number: int) -> Iterator[int]:
    """Give the numbers in a set, those from `number` on first, then the others."""
    low = of & ((1 << number) - 1)
    yield from members(of ^ low)
    yield from members(low)
