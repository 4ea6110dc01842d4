"""What the picker believes of each endpoint: requests under way there, and how fast it answers.

Rules of this file:

- A state machine: events in (reserved, moved, released, scraped), beliefs out. Time is an argument, in seconds of one
  monotonic clock.
- A request counts from the moment of its pick to the end of its stream, once: reserved = released + held.
- Engines report everybody's requests, ours included. Those that are ours were counted at their picks, so a scrape only
  adds the foreign rest: reported, less every reservation that was held at any time during the scrape. A reservation
  newer than the scrape is thus neither missed nor counted twice, and one that has ended since is not counted at all.
- What is old is forgotten: foreign requests and slowness count only while they are fresh, so that no endpoint is
  shunned for ever for what it once was.
"""

import math
from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from argosy.base.endpoint import Endpoint
from argosy.base.errors import CallerError

FOREIGN_FRESH_S: Final = 10.0
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
_SMOOTHING: Final = 0.3


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is believed of an endpoint at the moment of a pick.

    `held` are requests that this picker sent there and that still run, `foreign` those of others. `slowness` is the
    factor by which its answers take longer than those of the fastest candidate, 1.0 when not notably. `last_pick`
    numbers the latest pick of it among all picks, 0 for none.
    """

    endpoint: Endpoint
    held: int = 0
    foreign: int = 0
    slowness: float = 1.0
    suspect: bool = False
    last_pick: int = 0


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """One request under way."""

    number: int
    endpoint: Endpoint
    since_s: float
    measurable: bool = True


class _Record(msgspec.Struct):
    held: int = 0
    reserved: int = 0
    foreign: int = 0
    foreign_at_s: float = -math.inf
    suspect_until_s: float = -math.inf
    last_pick: int = 0
    answers: int = 0
    log_duration: float = 0.0
    answered_at_s: float = -math.inf

    def slow_is_known(self, now_s: float) -> bool:
        if self.answers < SLOW_ANSWERS:
            return False
        return now_s - self.answered_at_s <= max(SLOW_FRESH_S, SLOW_FRESH_DURATIONS * math.exp(self.log_duration))


class ScrapeMark(msgspec.Struct, frozen=True, kw_only=True):
    """What was known of an endpoint when a scrape of it began; `record` tells it from a successor at its address."""

    endpoint: Endpoint
    held: int
    reserved: int
    record: _Record


class Loads:
    """The state of all endpoints of a picker."""

    def __init__(self) -> None:
        self._records: dict[Endpoint, _Record] = {}
        self._reservations: dict[int, Reservation] = {}
        self._picks = 0

    @property
    def held(self) -> int:
        """Reservations that are held now."""
        return len(self._reservations)

    def held_at(self, endpoint: Endpoint) -> int:
        """Reservations that are held now at one endpoint."""
        record = self._records.get(endpoint)
        return 0 if record is None else record.held

    def believed(self, endpoints: Iterable[Endpoint], now_s: float) -> tuple[Load, ...]:
        """Give what is believed of each of these endpoints, slowness relative to the fastest of them."""
        records = [(endpoint, self._records.get(endpoint) or _Record()) for endpoint in endpoints]
        known = [record.log_duration for _, record in records if record.slow_is_known(now_s)]
        fastest = min(known, default=0.0)
        return tuple(
            Load(
                endpoint=endpoint,
                held=record.held,
                foreign=record.foreign if now_s - record.foreign_at_s <= FOREIGN_FRESH_S else 0,
                slowness=_slowness(record.log_duration - fastest) if known and record.slow_is_known(now_s) else 1.0,
                suspect=now_s < record.suspect_until_s,
                last_pick=record.last_pick,
            )
            for endpoint, record in records
        )

    def reserve(self, endpoint: Endpoint, now_s: float) -> int:
        """Count a request that has just been sent to the endpoint; gives the reservation's number."""
        self._picks += 1
        record = self._record(endpoint)
        record.last_pick = self._picks
        self._reservations[self._picks] = Reservation(number=self._picks, endpoint=endpoint, since_s=now_s)
        record.held += 1
        record.reserved += 1
        return self._picks

    def move(self, number: int, endpoint: Endpoint, now_s: float) -> None:
        """Count a request where it is really served; the endpoint that did not take it becomes suspect."""
        reservation = self._reservations[number]
        self._reservations[number] = msgspec.structs.replace(reservation, endpoint=endpoint, measurable=False)
        refusing, serving = self._record(reservation.endpoint), self._record(endpoint)
        refusing.held -= 1
        refusing.suspect_until_s = now_s + SUSPECT_S
        serving.held += 1
        serving.reserved += 1

    def release(self, number: int, now_s: float, *, answered: bool) -> None:
        """Count a request no longer; `answered` says that it was answered well, so its duration means something."""
        reservation = self._reservations.pop(number, None)
        if reservation is None:
            raise CallerError(f"reservation {number} is not held")
        record = self._record(reservation.endpoint)
        record.held -= 1
        if answered and reservation.measurable:
            duration = math.log(max(now_s - reservation.since_s, 1e-4))
            weight = _SMOOTHING if record.answers else 1.0
            record.log_duration += weight * (duration - record.log_duration)
            record.answers += 1
            record.answered_at_s = now_s

    def scrape_began(self, endpoint: Endpoint) -> ScrapeMark:
        """Note what is held while the endpoint counts its requests."""
        record = self._record(endpoint)
        return ScrapeMark(endpoint=endpoint, held=record.held, reserved=record.reserved, record=record)

    def scraped(self, mark: ScrapeMark, requests: int, now_s: float) -> None:
        """Take in the requests, running and waiting, that the endpoint reported, unless it was forgotten meanwhile."""
        record = self._records.get(mark.endpoint)
        if record is not mark.record:
            return
        ours = mark.held + record.reserved - mark.reserved
        record.foreign = max(requests - ours, 0)
        record.foreign_at_s = now_s

    def keep_only(self, endpoints: Collection[Endpoint]) -> None:
        """Forget endpoints that are gone, except while requests are under way there."""
        self._records = {
            endpoint: record for endpoint, record in self._records.items() if record.held or endpoint in endpoints
        }

    def _record(self, endpoint: Endpoint) -> _Record:
        record = self._records.get(endpoint)
        if record is None:
            record = self._records[endpoint] = _Record()
        return record


def _slowness(log_ratio: float) -> float:
    return math.exp(log_ratio) if log_ratio >= math.log(SLOW_FACTOR) else 1.0
