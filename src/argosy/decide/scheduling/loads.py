"""What the picker believes of each endpoint: requests and prompts under way there, and how fast it answers.

Rules of this file:

- A state machine: events in (reserved, moved, released, scraped), beliefs out. Time is an argument, in seconds of one
  monotonic clock.
- A request counts from the moment of its pick to the end of its stream, once: reserved = released + held.
- Engines report everybody's requests, ours included. Those that are ours were counted at their picks, so a scrape only
  adds the foreign rest: reported, less every reservation that was held at any time during the scrape. A reservation
  newer than the scrape is thus neither missed nor counted twice, and one that has ended since is not counted at all.
- A prompt under way is so many blocks to compute. They leave the backlog when
  the request ends, or when the engine says that nothing waits, for then all that it has is begun. Of the oldest one,
  as much is taken to be computed as the endpoint usually gets through in the time.
- What is old is forgotten: foreign requests and slowness count only while they are fresh, so that no endpoint is
  shunned for ever for what it once was.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from argosy.base.endpoint import Endpoint
from argosy.base.errors import CallerError
from argosy.decide.scheduling.pace import Pace
from argosy.engines.signals import Signals

FRESH_S: Final = 10.0
"""How long a scrape counts; scraping is done at least every few seconds."""
SUSPECT_S: Final = 2.0
"""How long an endpoint that did not take a request stands last; readiness knows more by then."""
SLOW_FRESH_S: Final = 10.0
SLOW_FRESH_DURATIONS: Final = 5.0
"""Slowness counts for this long after the last answer, whichever is longer, so a slow endpoint is tried again."""
SLOW_FACTOR: Final = 3.0
"""Endpoints within this factor of the fastest count as equal: answers differ in length, and noise must not steer."""
SLOW_ANSWERS: Final = 3
"""Answers that must have been measured before slowness counts."""
_LOG_SLOW_FACTOR: Final = math.log(SLOW_FACTOR)
_SMOOTHING: Final = 0.3
_MEMORY: Final = 0.95
"""What is left of a measurement of speed at the next one."""


class Load(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is believed of an endpoint, see `LOAD_COLUMNS`; `signals` are the engine's words while they are fresh."""

    endpoint: Endpoint
    held: float = 0.0
    foreign: float = 0.0
    slowness: float = 1.0
    suspect: bool = False
    last_pick: float = 0.0
    backlog: float = 0.0
    under_way: float = 0.0
    signals: Signals | None = None


class Reservation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request under way."""

    number: int
    endpoint: Endpoint
    since_s: float
    size: float = 0.0
    work: float = 0.0
    measurable: bool = True
    model: str = ""


class _Record(msgspec.Struct):
    held: int = 0
    reserved: int = 0
    prompts: dict[int, float] = msgspec.field(default_factory=dict)
    """Blocks to compute of each reservation, oldest first."""
    pending: float = 0.0
    under_way: float = 0.0
    moved_at_s: float = 0.0
    """When the oldest prompt began to be computed, as far as anybody can tell from here."""
    computed: float = 0.0
    computing_s: float = 0.0
    foreign: int = 0
    signals: Signals | None = None
    fresh_until_s: float = -math.inf
    suspect_until_s: float = -math.inf
    last_pick: int = 0
    answers: int = 0
    log_pace: float = 0.0
    """Of the seconds that an answer takes here after the usual work, as a moving average."""
    log_duration: float = 0.0
    slow_until_s: float = -math.inf
    """Until when its pace is compared with others'."""

    def backlog(self, now_s: float) -> float:
        if not self.prompts or self.pending <= 0.0:
            return 0.0
        oldest = next(iter(self.prompts.values()))
        rate = self.computed / self.computing_s if self.computing_s > 0.0 else 0.0
        return max(self.pending - min(oldest, rate * (now_s - self.moved_at_s)), 0.0)

    def begin(self, number: int, blocks: float, now_s: float) -> None:
        if not self.prompts:
            self.moved_at_s = now_s
        self.prompts[number] = blocks
        self.pending += blocks

    def end(self, number: int, now_s: float, *, measured: bool) -> float:
        blocks = self.prompts.pop(number)
        self.pending = self.pending - blocks if self.prompts else 0.0
        if measured and blocks > 0.0:
            self.computed = _MEMORY * self.computed + blocks
            self.computing_s = _MEMORY * self.computing_s + now_s - self.moved_at_s
        self.moved_at_s = now_s
        return blocks

    def all_begun(self, until: int) -> None:
        for number, blocks in self.prompts.items():
            if blocks and number <= until:
                self.pending -= blocks
                self.prompts[number] = 0.0


_UNKNOWN: Final = _Record()


class ScrapeMark(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was known of an endpoint when a scrape of it began; `record` tells it from a successor at its address."""

    endpoint: Endpoint
    held: int
    reserved: int
    picks: int
    record: _Record

    @property
    def ours(self) -> int:
        """Reservations that were held at any time since."""
        return self.held + self.record.reserved - self.reserved


class Loads:
    """The state of all endpoints of a picker."""

    def __init__(self) -> None:
        self._records: dict[Endpoint, _Record] = {}
        self._reservations: dict[int, Reservation] = {}
        self._picks = 0
        self._pace = Pace()

    @property
    def held(self) -> int:
        """Reservations that are held now."""
        return len(self._reservations)

    def held_at(self, endpoint: Endpoint) -> int:
        """Reservations that are held now at one endpoint."""
        record = self._records.get(endpoint)
        return 0 if record is None else record.held

    def requests_at(self, endpoint: Endpoint) -> int:
        """Requests under way at one endpoint, others' as they were last reported."""
        record = self._records.get(endpoint)
        return 0 if record is None else record.held + record.foreign

    def endpoint_of(self, number: int) -> Endpoint:
        """Where a reservation counts. Raises `CallerError` when it is not held."""
        reservation = self._reservations.get(number)
        if reservation is None:
            raise CallerError(f"reservation {number} is not held")
        return reservation.endpoint

    def believed(self, endpoints: Iterable[Endpoint], now_s: float) -> tuple[Load, ...]:
        """Give what is believed of each of these endpoints, slowness relative to the fastest of them."""
        endpoints = tuple(endpoints)
        columns = self.columns(endpoints, _OF_LOAD, now_s)
        rows = zip(*columns.values(), strict=True)
        return tuple(
            Load(
                endpoint=endpoint,
                suspect=now_s < record.suspect_until_s,
                signals=record.signals if now_s <= record.fresh_until_s else None,
                **dict(zip(_OF_LOAD, row, strict=True)),
            )
            for endpoint, record, row in zip(endpoints, self._of(endpoints), rows, strict=True)
        )

    def columns(self, endpoints: Iterable[Endpoint], names: Iterable[str], now_s: float) -> dict[str, list[float]]:
        """Give what is believed of these endpoints, in columns; only those of `LOAD_COLUMNS`."""
        records = self._of(endpoints)
        return {name: make(records, now_s) for name in names if (make := LOAD_COLUMNS.get(name))}

    def reserve(
        self,
        endpoint: Endpoint,
        now_s: float,
        *,
        size: float = 0.0,
        uncached: float = 0.0,
        measurable: bool = True,
        model: str = "",
    ) -> int:
        """Count a request that has just been sent to the endpoint; gives the reservation's number.

        Its prompt is `size` blocks long, of which `uncached` are to be computed. It is `measurable` where it takes as
        long as requests do that compute so much and answer.
        """
        self._picks += 1
        record = self._record(endpoint)
        record.last_pick = self._picks
        self._reservations[self._picks] = Reservation(
            number=self._picks,
            endpoint=endpoint,
            since_s=now_s,
            size=size,
            work=record.backlog(now_s) + uncached,
            measurable=measurable,
            model=model,
        )
        record.held += 1
        record.reserved += 1
        record.under_way += size
        record.begin(self._picks, uncached, now_s)
        return self._picks

    def compute_here(self, number: int, uncached: float, now_s: float) -> None:
        """Count so many blocks to compute for a request that came without any."""
        reservation = self._reservations[number]
        record = self._record(reservation.endpoint)
        self._reservations[number] = msgspec.structs.replace(
            reservation, since_s=now_s, work=record.backlog(now_s) + uncached, measurable=True
        )
        record.prompts[number] += uncached
        record.pending += uncached

    def set_aside(self, endpoint: Endpoint, until_s: float) -> None:
        """Take an endpoint for suspect until then."""
        record = self._record(endpoint)
        record.suspect_until_s = max(record.suspect_until_s, until_s)

    def move(self, number: int, endpoint: Endpoint, now_s: float) -> None:
        """Count a request where it is really served; the endpoint that did not take it becomes suspect."""
        reservation = self._reservations[number]
        self._reservations[number] = msgspec.structs.replace(reservation, endpoint=endpoint, measurable=False)
        refusing, serving = self._record(reservation.endpoint), self._record(endpoint)
        refusing.held -= 1
        refusing.suspect_until_s = now_s + SUSPECT_S
        serving.held += 1
        serving.reserved += 1
        refusing.under_way -= reservation.size
        serving.under_way += reservation.size
        serving.begin(number, refusing.end(number, now_s, measured=False), now_s)

    def release(self, number: int, now_s: float, *, answered: bool) -> Reservation:
        """Count a request no longer; `answered` says that it was answered well, so its duration means something.

        Gives the reservation that it was.
        """
        endpoint = self.endpoint_of(number)
        reservation = self._reservations.pop(number)
        record = self._record(endpoint)
        record.held -= 1
        record.under_way = record.under_way - reservation.size if record.held else 0.0
        record.end(number, now_s, measured=answered)
        if answered and reservation.measurable:
            duration_s = now_s - reservation.since_s
            pace = math.log(self._pace.measured(reservation.work, duration_s))
            weight = _SMOOTHING if record.answers else 1.0
            record.log_pace += weight * (pace - record.log_pace)
            record.log_duration += weight * (math.log(max(duration_s, 1e-4)) - record.log_duration)
            record.answers += 1
            if record.answers >= SLOW_ANSWERS:
                usual_s = math.exp(record.log_duration)
                record.slow_until_s = now_s + max(SLOW_FRESH_S, SLOW_FRESH_DURATIONS * usual_s)
        return reservation

    def scrape_began(self, endpoint: Endpoint) -> ScrapeMark:
        """Note what is held while the endpoint counts its requests."""
        record = self._record(endpoint)
        return ScrapeMark(
            endpoint=endpoint, held=record.held, reserved=record.reserved, picks=self._picks, record=record
        )

    def scraped(self, mark: ScrapeMark, signals: Signals, now_s: float) -> bool:
        """Take in what the endpoint reported, unless it was forgotten meanwhile; gives whether it was taken in."""
        record = self._records.get(mark.endpoint)
        if record is not mark.record:
            return False
        record.foreign = max(signals.requests - mark.ours, 0)
        record.signals = signals
        if signals.waiting == 0.0:
            record.all_begun(mark.picks)
        record.fresh_until_s = now_s + FRESH_S
        return True

    def keep_only(self, endpoints: Collection[Endpoint]) -> None:
        """Forget endpoints that are gone, except while requests are under way there."""
        self._records = {
            endpoint: record for endpoint, record in self._records.items() if record.held or endpoint in endpoints
        }

    def _of(self, endpoints: Iterable[Endpoint]) -> list[_Record]:
        records = self._records
        return [records.get(endpoint, _UNKNOWN) for endpoint in endpoints]

    def _record(self, endpoint: Endpoint) -> _Record:
        record = self._records.get(endpoint)
        if record is None:
            record = self._records[endpoint] = _Record()
        return record


def _slowness(records: Sequence[_Record], now_s: float) -> list[float]:
    paces = [each.log_pace if now_s <= each.slow_until_s else None for each in records]
    fastest = min((pace for pace in paces if pace is not None), default=0.0)
    notable = fastest + _LOG_SLOW_FACTOR
    return [1.0 if pace is None or pace < notable else math.exp(pace - fastest) for pace in paces]


def _waiting(record: _Record, now_s: float) -> float:
    return record.signals.waiting if record.signals is not None and now_s <= record.fresh_until_s else 0.0


def _kv_usage(record: _Record, now_s: float) -> float:
    return (record.signals.kv_usage or 0.0) if record.signals is not None and now_s <= record.fresh_until_s else 0.0


LOAD_COLUMNS: Final[Mapping[str, Callable[[Sequence[_Record], float], list[float]]]] = {
    "held": lambda records, _: [each.held for each in records],
    "foreign": lambda records, now_s: [each.foreign if now_s <= each.fresh_until_s else 0 for each in records],
    "requests": lambda records, now_s: [
        each.held + each.foreign if now_s <= each.fresh_until_s else each.held for each in records
    ],
    "waiting": lambda records, now_s: [_waiting(each, now_s) for each in records],
    "kv_usage": lambda records, now_s: [_kv_usage(each, now_s) for each in records],
    "backlog": lambda records, now_s: [each.backlog(now_s) if each.pending > 0.0 else 0.0 for each in records],
    "under_way": lambda records, _: [each.under_way for each in records],
    "slowness": _slowness,
    "suspect": lambda records, now_s: [1.0 if now_s < each.suspect_until_s else 0.0 for each in records],
    "last_pick": lambda records, _: [each.last_pick for each in records],
}
"""Columns about endpoints, whatever the request.

`requests` under way, of which this picker `held` some and `foreign` are others'; `waiting` of them in the engine's
queue, by its own count; `kv_usage` of its cache (0 to 1); `backlog`, blocks of prompts yet to compute; `under_way`,
blocks of all prompts under way, cached or not; `slowness`, by which factor its answers take longer than the fastest
candidate's, 1 when not notably; `suspect`, 1 when it has just failed to take a request; `last_pick`, the number of its
latest pick among all picks, 0 for none.
"""
_OF_LOAD: Final = ("held", "foreign", "slowness", "last_pick", "backlog", "under_way")
