"""How much an engine's prefix cache holds: what it says of its size, corrected by how often it finds what it should.

Rules of this file:

- A state machine: what was sent and what was expected to be found there, and what the engine counts, in; rooms out.
- An engine that counts fewer hits than were expected holds less than it seems to, for a part of its cache serves the
  requests that run: the room shrinks, and grows again while hits come as expected.
- Counters that fall are those of an engine that has been started anew: its cache is lost.
"""

from typing import Final

import msgspec

from argosy.decide.prefixes.prompt import BLOCK_BYTES, BYTES_PER_TOKEN
from argosy.engines.signals import Signals

ROOM: Final = 8192
"""Blocks of a cache whose size no engine tells: two million tokens."""
MOST: Final = 65_536
MOST_SLOTS: Final = 256
ENOUGH_TOKENS: Final = 8192.0
"""Tokens that must have been looked up before a share of hits means something."""
LESS: Final = 0.1
SHRINK: Final = 0.8
GROW: Final = 1.1
LEAST: Final = 1 / 16
_TOKENS_PER_BLOCK: Final = BLOCK_BYTES / BYTES_PER_TOKEN


class Told(msgspec.Struct, frozen=True):
    """What follows from a page: the room in blocks where it has changed or is to be told anew, and a lost cache.

    `slots` are those that the room is divided into; 0 where it is one.
    """

    room: int | None = None
    slots: int = 0
    lost: bool = False


class _Room(msgspec.Struct):
    room: int = ROOM
    slots: int = 0
    factor: float = 1.0
    sent: float = 0.0
    expected: float = 0.0
    queries: float = 0.0
    hits: float = 0.0


class Rooms:
    """The rooms of all endpoints, which are numbers."""

    def __init__(self) -> None:
        self._rooms: dict[int, _Room] = {}

    def sent(self, number: int, size: float, matched: float) -> None:
        """Take in that a prompt was sent, of which so many blocks should be found."""
        room = self._of(number)
        room.sent += size
        room.expected += matched

    def told(self, number: int, signals: Signals) -> Told:
        """Take in what an engine says of its cache."""
        room = self._of(number)
        before, lost = (room.room, room.slots), signals.prefix_queries < room.queries
        if lost:
            room.queries = room.hits = room.sent = room.expected = 0.0
        if signals.prefix_queries - room.queries >= ENOUGH_TOKENS:
            self._judge(room, signals)
        if signals.cache_blocks is not None and signals.block_tokens is not None:
            tokens = signals.cache_blocks * signals.block_tokens
            room.room = min(int(room.factor * tokens / _TOKENS_PER_BLOCK), MOST)
        else:
            room.room = int(room.factor * ROOM)
        room.slots = min(signals.cache_slots, MOST_SLOTS)
        changed = lost or (room.room, room.slots) != before
        return Told(room=room.room if changed else None, slots=room.slots if changed else 0, lost=lost)

    def forget(self, number: int) -> None:
        """Forget an endpoint that is gone."""
        self._rooms.pop(number, None)

    def _judge(self, room: _Room, signals: Signals) -> None:
        found = (signals.prefix_hits - room.hits) / (signals.prefix_queries - room.queries)
        should = room.expected / room.sent if room.sent else 0.0
        if should - found > LESS:
            room.factor = max(room.factor * SHRINK, LEAST)
        else:
            room.factor = min(room.factor * GROW, 1.0)
        room.queries, room.hits = signals.prefix_queries, signals.prefix_hits
        room.sent = room.expected = 0.0

    def _of(self, number: int) -> _Room:
        room = self._rooms.get(number)
        if room is None:
            room = self._rooms[number] = _Room()
        return room
