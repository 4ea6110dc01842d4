"""All that a picker believes of its endpoints: loads, caches, sessions, adapters, under one numbering.

Rules of this file:

- A state machine: events in, candidates with their columns out. Time is an argument, in seconds of one monotonic clock.
- Bounded: endpoints that are gone are forgotten, sessions beyond `MAX_SESSIONS` too, the latest kept.
"""

import enum
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from argosy.base.endpoint import Endpoint
from argosy.base.numbering import Numbering, members
from argosy.decide.prefixes.index import NO_MATCH, PrefixIndex
from argosy.decide.prefixes.prompt import BLOCK_BYTES, NO_PROMPT, Prompt
from argosy.decide.prefixes.rooms import ROOM, Rooms
from argosy.decide.prefixes.tokens import Counts, TokenRates
from argosy.decide.scheduling.loads import Loads, ScrapeMark
from argosy.decide.scheduling.nominations import Crowds, nominated
from argosy.decide.scheduling.plugins import Candidates, Column
from argosy.engines.signals import Signals

MAX_SESSIONS: Final = 65_536
MAX_SEATS: Final = 256
"""Sets of candidates whose members are remembered: a small pool is judged whole each time."""
_SMOOTHING: Final = 0.01


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """What a request wants of an endpoint: its prompt, its session's key and its model's name, where it has them."""

    prompt: Prompt = NO_PROMPT
    session: str = ""
    model: str = ""


NOTHING: Final = Wanted()


class Duty(enum.Enum):
    """What of a request an endpoint does: all of it, its prompt for another endpoint, or what follows the prompt."""

    WHOLE = "whole"
    PREFILL = "prefill"
    DECODE = "decode"


class Beliefs:
    """The state of all endpoints of a picker; `room` in blocks is that of a cache whose size no engine tells."""

    def __init__(self, *, room: int = ROOM) -> None:
        self.loads = Loads()
        self.rates = TokenRates()
        self._numbering = Numbering()
        self._index = PrefixIndex(room=room)
        self._rooms = Rooms()
        self._crowds = Crowds()
        self._sessions: OrderedDict[str, int] = OrderedDict()
        self._adapters: dict[str, int] = {}
        self._loaded: dict[int, frozenset[str]] = {}
        self._seats: dict[int, tuple[tuple[int, ...], tuple[Endpoint, ...]]] = {}
        self.busy = 0.0
        """The share of candidates that have prompts to compute, 0 to 1, as a moving average over picks."""

    @property
    def blocks(self) -> int:
        """Distinct blocks of prompts that endpoints are taken to hold."""
        return self._index.blocks

    def set_of(self, endpoints: Iterable[Endpoint]) -> int:
        """Give a set of endpoints, for `candidates`; it holds until one of them is forgotten."""
        return self._numbering.set_of(endpoints)

    def candidates(self, among: int, wanted: Wanted, inputs: Iterable[str], now_s: float) -> Candidates:
        """Give the endpoints of a set that are worth judging, with columns of what is believed of them."""
        match = self._index.match(wanted.prompt) if wanted.prompt.size else NO_MATCH
        session, adapter = self._session(wanted.session), self._adapters.get(wanted.model, 0)
        numbers, endpoints = self._seated(nominated(among, match, session, adapter, self._crowds))
        columns = self.loads.columns(endpoints, inputs, now_s)
        backlog = columns["backlog"]
        self.busy += _SMOOTHING * ((len(backlog) - backlog.count(0.0)) / len(backlog) - self.busy)
        of_request: dict[str, Column] = {"session": _bits(session, numbers), "adapter": _bits(adapter, numbers)}
        of_request["matched"] = matched = match.lengths(numbers)
        of_request["pressure"] = self._index.pressures(numbers, wanted.prompt.size, matched, now_s)
        return Candidates(endpoints, {name: columns.get(name) or of_request[name] for name in inputs})

    def reserve(
        self, endpoint: Endpoint, wanted: Wanted, now_s: float, *, matched: float = 0.0, duty: Duty = Duty.WHOLE
    ) -> int:
        """Count a request, or a leg of one, that has just been sent to the endpoint, which holds `matched` blocks.

        Gives the reservation's number. Who only decodes holds the prompt when it has come there: see `hold`.
        """
        prompt, number = wanted.prompt, self._numbering.of(endpoint)
        uncached = 0.0 if duty is Duty.DECODE else max(prompt.size - matched, 0.0)
        reservation = self.loads.reserve(
            endpoint,
            now_s,
            size=prompt.size,
            uncached=uncached,
            measurable=duty is Duty.WHOLE,
            model=wanted.model,
        )
        self._crowds.picked(number)
        self._count(endpoint)
        if prompt.size:
            if duty is not Duty.DECODE:
                self._index.sent(number, prompt, now_s)
            self._rooms.sent(number, prompt.size, matched)
        if wanted.session and duty is not Duty.PREFILL:
            self._sessions[wanted.session] = number
            self._sessions.move_to_end(wanted.session)
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        return reservation

    def hold(self, endpoint: Endpoint, prompt: Prompt, now_s: float) -> None:
        """Take in that the endpoint has been given a prompt's cache, or computes it after all."""
        self._index.sent(self._numbering.of(endpoint), prompt, now_s)

    def move(self, reservation: int, endpoint: Endpoint, now_s: float) -> None:
        """Count a request where it is really served; the endpoint that did not take it becomes suspect."""
        before = self.loads.endpoint_of(reservation)
        self.loads.move(reservation, endpoint, now_s)
        self._count(before)
        self._count(endpoint)

    def release(self, reservation: int, now_s: float, *, answered: bool) -> None:
        """Count a request no longer; `answered` says that it was answered well."""
        ended = self.loads.release(reservation, now_s, answered=answered)
        number = self._numbering.of(ended.endpoint)
        self.rates.ended(number, ended.model, ended.size * BLOCK_BYTES, answered=answered)
        self._count(ended.endpoint)

    def scraped(self, mark: ScrapeMark, signals: Signals, now_s: float) -> None:
        """Take in what an endpoint reported, unless it was forgotten meanwhile."""
        if not self.loads.scraped(mark, signals, now_s):
            return
        number = self._numbering.of(mark.endpoint)
        self._count(mark.endpoint)
        if signals.ended is not None and signals.prompt_tokens is not None:
            rests = signals.requests == 0 and mark.ours == 0
            self.rates.counted(number, Counts(signals.ended, signals.prompt_tokens), rests=rests)
        told = self._rooms.told(number, signals)
        if told.lost:
            self._index.forget(number)
        if told.room is not None:
            self._index.resized(number, told.room, told.slots)
        if signals.adapters != self._loaded.get(number, frozenset()):
            self._forget_adapters(number)
            self._loaded[number] = signals.adapters
            for name in signals.adapters:
                self._adapters[name] = self._adapters.get(name, 0) | 1 << number

    def keep_only(self, endpoints: Collection[Endpoint]) -> None:
        """Forget endpoints that are gone."""
        self.loads.keep_only(endpoints)
        self._seats.clear()
        for number in self._numbering.keep_only(endpoints):
            self._index.forget(number)
            self._rooms.forget(number)
            self.rates.forget(number)
            self._crowds.forget(number)
            self._forget_adapters(number)
            for session in [name for name, where in self._sessions.items() if where == number]:
                del self._sessions[session]

    def cached_at(self, endpoint: Endpoint) -> tuple[int, int]:
        """Give how many blocks an endpoint is taken to hold, and how many it has room for."""
        number = self._numbering.of(endpoint)
        return self._index.held_at(number), self._index.room_of(number)

    def _seated(self, of: int) -> tuple[tuple[int, ...], tuple[Endpoint, ...]]:
        found = self._seats.get(of)
        if found is None:
            if len(self._seats) >= MAX_SEATS:
                self._seats.clear()
            numbers = tuple(members(of))
            found = self._seats[of] = numbers, tuple(map(self._numbering.endpoint, numbers))
        return found

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


def _bits(of: int, numbers: Sequence[int]) -> Column:
    return [of >> number & 1 for number in numbers] if of else [0] * len(numbers)
