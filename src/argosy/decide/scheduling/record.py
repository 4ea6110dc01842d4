"""Decisions that were made: what went into each, kept for a while, so that it can be asked for and made again.

Rules of this file:

- A state machine: decisions and their outcomes in, records out. It is bounded, whatever comes: so many candidates in
  all records together, so many endpoints in all states of pools together. The oldest go first.
- Nothing of a prompt is kept. Of a client's words only its request id is, and the model that it asks for where that is
  rewritten, each cut to `MAX_ID`.
- A pool's endpoints are kept once for each state of the pool, and not in every record.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import islice
from typing import Final, Literal

import msgspec

from argosy.api.scheduling import ProfileSpec
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import PoolEndpoint
from argosy.decide.routing.rewrites import Rewritten
from argosy.decide.scheduling.deciders.threshold import Verdict
from argosy.decide.scheduling.plugins import Asked, Candidates, Failure
from argosy.engines.moved import Transfer

MAX_ID: Final = 128
MAX_KEPT: Final = 65_536
"""Candidates of all records together, a record itself counted as `RECORD_SIZE` of them: about 20 MB at most."""
RECORD_SIZE: Final = 5
MAX_ENDPOINTS_KEPT: Final = 20_000


class PrefillRecord(msgspec.Struct, kw_only=True):
    """The prefill leg of a request: what it was decided by, and what came of it.

    `candidates` were judged by the record's profile as `asked`; `picked` is None where the verdict is against a leg.
    `outcome` is empty while the leg is under way, `done`, or why it failed. `prompt_tokens` is the true length of the
    prompt, as far as it was reported, else 0. `transfer` is what became of the state that the leg left, empty while
    that is not known; `moved_tokens` of the prompt were not computed again. `alike` counts other legs with the same
    prompt that were under way.
    """

    verdict: Verdict
    eligible: int = 0
    asked: Asked = Asked()
    candidates: Candidates = Candidates()
    picked: Endpoint | None = None
    outcome: str = ""
    took_s: float | None = None
    prompt_tokens: int = 0
    transfer: Transfer | Literal[""] = ""
    moved_tokens: int = 0
    alike: int = 0


class Record(msgspec.Struct, kw_only=True):
    """One request: what was known when it was decided, and what came of it.

    `at_s` is in seconds since 1970. `model` is the one that its route asks for, empty for any. `eligible` counts the
    endpoints that could have served, of which `candidates` were judged, by `profile`; by the built-in default where one
    of its plugins had a `failure`. `picked` is the best of them. A refused request has a `refused` reason, and no
    candidates. `took_s` is None while it is under way. `prefill` is there where its pool has prefill workers.
    """

    request: str
    at_s: float
    pool: str = ""
    route: str = ""
    model: str = ""
    rewritten: Rewritten | None = None
    subset: frozenset[str] | None = None
    eligible: int = 0
    profile: ProfileSpec | None = None
    asked: Asked = Asked()
    candidates: Candidates = Candidates()
    picked: Endpoint | None = None
    failure: Failure | None = None
    prefill: PrefillRecord | None = None
    refused: str = ""
    served: str = ""
    answered: bool = False
    took_s: float | None = None

    @property
    def serving(self) -> str | None:
        """The model that its endpoint must serve; None for any."""
        return self.rewritten.served if self.rewritten else self.model or None

    @property
    def matched(self) -> float:
        """Blocks of its prompt that the pick held; 0 where there is none."""
        if self.picked is None:
            return 0.0
        return self.candidates.columns["matched"][self.candidates.endpoints.index(self.picked)]


class Records:
    """The latest records of one picker."""

    def __init__(self) -> None:
        self._records: deque[tuple[Record, int]] = deque()
        self._by_request: dict[str, tuple[Record, int]] = {}
        self._kept = 0
        self._states: OrderedDict[int, Sequence[PoolEndpoint]] = OrderedDict()
        self._numbers: dict[int, int] = {}
        self._last = 0
        self._endpoints = 0

    def add(self, record: Record, endpoints: Sequence[PoolEndpoint] = ()) -> None:
        """Keep a record, and the state of its pool at that moment: the very same sequence until the pool changes."""
        entry = (record, self._state_of(endpoints))
        self._records.append(entry)
        self._by_request[record.request] = entry
        self._kept += _size(record)
        while self._kept > MAX_KEPT:
            oldest_entry = self._records.popleft()
            self._kept -= _size(oldest_entry[0])
            if self._by_request.get(oldest_entry[0].request) is oldest_entry:
                del self._by_request[oldest_entry[0].request]

    def find(self, request: str) -> tuple[Record, Sequence[PoolEndpoint]] | None:
        """Give the latest record of a request id, and its pool's endpoints then: none where they are forgotten."""
        entry = self._by_request.get(request[:MAX_ID])
        if entry is None:
            return None
        record, state = entry
        return record, self._states.get(state, ())

    def _state_of(self, endpoints: Sequence[PoolEndpoint]) -> int:
        """Give the number of a state of a pool; a state is the very same sequence, as long as it is kept."""
        if not endpoints:
            return 0
        number = self._numbers.get(id(endpoints))
        if number is None:
            self._last += 1
            number = self._numbers[id(endpoints)] = self._last
            self._states[number] = endpoints
            self._endpoints += len(endpoints)
            while self._endpoints > MAX_ENDPOINTS_KEPT and len(self._states) > 1:
                _, oldest = self._states.popitem(last=False)
                self._endpoints -= len(oldest)
                del self._numbers[id(oldest)]
        return number

    def latest(self, count: int) -> list[Record]:
        """Give the newest records, newest first."""
        return [record for record, _ in islice(reversed(self._records), count)]


def _size(record: Record) -> int:
    of_prefill = 0 if record.prefill is None else RECORD_SIZE + len(record.prefill.candidates)
    return RECORD_SIZE + len(record.candidates) + of_prefill
