"""All that a picker believes of its endpoints: loads, caches, sessions, adapters, under one numbering.

Rules of this file:

- A state machine: events in, candidates with their columns out. Time is an argument, in seconds of one monotonic clock.
- Bounded: endpoints that are gone are forgotten, sessions beyond `MAX_SESSIONS` too, the latest kept.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from argosy.base.endpoint import Endpoint
from argosy.base.numbering import Numbering, members
from argosy.decide.prefixes.index import NO_MATCH, PrefixIndex
from argosy.decide.prefixes.prompt import NO_PROMPT, Prompt
from argosy.decide.prefixes.rooms import ROOM, Rooms
from argosy.decide.scheduling.loads import Load, Loads, ScrapeMark
from argosy.decide.scheduling.nominations import Crowds, nominated
from argosy.engines.signals import Signals

MAX_SESSIONS: Final = 65_536
_SMOOTHING: Final = 0.01


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """What a request wants of an endpoint: its prompt, its session's key and its model's name, where it has them."""

    prompt: Prompt = NO_PROMPT
    session: str = ""
    model: str = ""


NOTHING: Final = Wanted()


class Beliefs:
    """The state of all endpoints of a picker; `room` in blocks is that of a cache whose size no engine tells."""

    def __init__(self, *, room: int = ROOM) -> None:
        self.loads = Loads()
        self._numbering = Numbering()
        self._index = PrefixIndex(room=room)
        self._rooms = Rooms()
        self._crowds = Crowds()
        self._sessions: OrderedDict[str, int] = OrderedDict()
        self._adapters: dict[str, int] = {}
        self._loaded: dict[int, frozenset[str]] = {}
        self.busy = 0.0
        """The share of candidates that have prompts to compute, 0 to 1, as a moving average over picks."""

    @property
    def blocks(self) -> int:
        """Distinct blocks of prompts that endpoints are taken to hold."""
        return self._index.blocks

    def set_of(self, endpoints: Iterable[Endpoint]) -> int:
        """Give a set of endpoints, for `candidates`; it holds until one of them is forgotten."""
        return self._numbering.set_of(endpoints)

    def candidates(self, among: int, wanted: Wanted, now_s: float) -> tuple[Load, ...]:
        """Give the endpoints of a set that are worth judging, with all that is believed of them."""
        match = self._index.match(wanted.prompt) if wanted.prompt.size else NO_MATCH
        session, adapter = self._session(wanted.session), self._adapters.get(wanted.model, 0)
        numbers = list(members(nominated(among, match, session, adapter, self._crowds)))
        endpoint = self._numbering.endpoint
        believed = self.loads.believed([endpoint(number) for number in numbers], now_s)
        computing = sum(load.backlog > 0.0 for load in believed) / len(believed)
        self.busy += _SMOOTHING * (computing - self.busy)
        size = wanted.prompt.size
        if not size and not session and not adapter:
            return believed
        known, found = match.anybody, []
        for number, load in zip(numbers, believed, strict=True):
            matched = match.length(number) if known >> number & 1 else 0.0
            found.append(
                msgspec.structs.replace(
                    load,
                    matched=matched,
                    pressure=self._index.pressure(number, size - matched, now_s),
                    session=bool(session >> number & 1),
                    adapter=bool(adapter >> number & 1),
                )
            )
        return tuple(found)

    def reserve(self, picked: Load, wanted: Wanted, now_s: float) -> int:
        """Count a request that has just been sent to the endpoint; gives the reservation's number."""
        prompt, number = wanted.prompt, self._numbering.of(picked.endpoint)
        uncached = max(prompt.size - picked.matched, 0.0)
        reservation = self.loads.reserve(picked.endpoint, now_s, size=prompt.size, uncached=uncached)
        self._crowds.picked(number)
        self._count(picked.endpoint)
        if prompt.size:
            self._index.sent(number, prompt, now_s)
            self._rooms.sent(number, prompt.size, picked.matched)
        if wanted.session:
            self._sessions[wanted.session] = number
            self._sessions.move_to_end(wanted.session)
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        return reservation

    def move(self, reservation: int, endpoint: Endpoint, now_s: float) -> None:
        """Count a request where it is really served; the endpoint that did not take it becomes suspect."""
        before = self.loads.endpoint_of(reservation)
        self.loads.move(reservation, endpoint, now_s)
        self._count(before)
        self._count(endpoint)

    def release(self, reservation: int, now_s: float, *, answered: bool) -> None:
        """Count a request no longer; `answered` says that it was answered well."""
        endpoint = self.loads.endpoint_of(reservation)
        self.loads.release(reservation, now_s, answered=answered)
        self._count(endpoint)

    def scraped(self, mark: ScrapeMark, signals: Signals, now_s: float) -> None:
        """Take in what an endpoint reported, unless it was forgotten meanwhile."""
        if not self.loads.scraped(mark, signals, now_s):
            return
        number = self._numbering.of(mark.endpoint)
        self._count(mark.endpoint)
        told = self._rooms.told(number, signals)
        if told.lost:
            self._index.forget(number)
        if told.room is not None:
            self._index.resized(number, told.room)
        if signals.adapters != self._loaded.get(number, frozenset()):
            self._forget_adapters(number)
            self._loaded[number] = signals.adapters
            for name in signals.adapters:
                self._adapters[name] = self._adapters.get(name, 0) | 1 << number

    def keep_only(self, endpoints: Collection[Endpoint]) -> None:
        """Forget endpoints that are gone."""
        self.loads.keep_only(endpoints)
        for number in self._numbering.keep_only(endpoints):
            self._index.forget(number)
            self._rooms.forget(number)
            self._crowds.forget(number)
            self._forget_adapters(number)
            for session in [name for name, where in self._sessions.items() if where == number]:
                del self._sessions[session]

    def cached_at(self, endpoint: Endpoint) -> tuple[int, int]:
        """Give how many blocks an endpoint is taken to hold, and how many it has room for."""
        number = self._numbering.of(endpoint)
        return self._index.held_at(number), self._index.room_of(number)

    def _session(self, name: str) -> int:
        number = self._sessions.get(name) if name else None
        return 0 if number is None else 1 << number

    def _count(self, endpoint: Endpoint) -> None:
        self._crowds.changed(self._numbering.of(endpoint), self.loads.requests_at(endpoint))

    def _forget_adapters(self, number: int) -> None:
        for name in self._loaded.pop(number, ()):
            left = self._adapters[name] & ~(1 << number)
            if left:
                self._adapters[name] = left
            else:
                del self._adapters[name]
