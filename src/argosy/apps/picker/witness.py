"""Who is told of decisions while they are made: a file, traces. Without any of them nothing of this is in the way.

Rules of this file:

- A witness sees what was decided and what came of it, changes nothing, and does not wait.
- Decisions are told with the records that the picker keeps of them; what leaves no record is not told.
"""

import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from argosy.apps.picker.answers import Refusal
from argosy.apps.picker.legs import Done, Leg
from argosy.apps.picker.pick import Pick, RequestHead
from argosy.apps.picker.picker import Picker
from argosy.apps.picker.session import Decider
from argosy.decide.routing.endpoints import PoolEndpoint
from argosy.decide.scheduling.profiles import Profile
from argosy.decide.scheduling.record import Record
from argosy.edge.rpc.ext_proc import Answer


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """One decision: the request, its record, its pool's endpoints then, and when, in ns since 1970.

    `profile` is what decided, None for a refusal.
    """

    head: RequestHead
    record: Record
    endpoints: Sequence[PoolEndpoint]
    profile: Profile | None
    began_ns: int
    ended_ns: int


class Witness(Protocol):
    """Is told of decisions."""

    def decided(self, decided: Decided) -> None:
        """Take note of a pick, or of a refusal, which is the end of it."""

    def finished(self, record: Record) -> None:
        """Take note that the answer to a picked request has ended; the record says how."""


class WitnessedPicker:
    """Decides as the picker does, and tells witnesses (the `Decider` of sessions)."""

    def __init__(self, picker: Picker, witnesses: Sequence[Witness]) -> None:
        self._picker = picker
        self._witnesses = witnesses

    def early_answer(self, head: RequestHead) -> Answer | None:
        """Refuse as the picker does."""
        before, began_ns = self._newest(), time.time_ns()
        answer = self._picker.early_answer(head)
        self._tell(head, before, began_ns)
        return answer

    def refuse(self, head: RequestHead, refusal: Refusal) -> Answer:
        """Refuse as the picker does."""
        before, began_ns = self._newest(), time.time_ns()
        answer = self._picker.refuse(head, refusal)
        self._tell(head, before, began_ns)
        return answer

    def decide(self, head: RequestHead, body: bytes | None) -> Pick | Answer:
        """Decide as the picker does."""
        before, began_ns = self._newest(), time.time_ns()
        decision = self._picker.decide(head, body)
        self._tell(head, before, began_ns)
        return decision

    def prefill(self, pick: Pick, head: RequestHead, done: Done) -> Leg | None:
        """Pass it on."""
        return self._picker.prefill(pick, head, done)

    def served(self, pick: Pick, by: str) -> None:
        """Pass it on."""
        self._picker.served(pick, by)

    def arrived(self, pick: Pick, moved: str) -> None:
        """Pass it on."""
        self._picker.arrived(pick, moved)

    def given_up(self, pick: Pick, refusal: Refusal) -> Answer:
        """Pass it on."""
        return self._picker.given_up(pick, refusal)

    def told(self, pick: Pick) -> tuple[tuple[str, str], ...]:
        """Pass it on."""
        return self._picker.told(pick)

    def ended(self, pick: Pick, *, answered: bool) -> None:
        """Pass it on, and tell."""
        self._picker.ended(pick, answered=answered)
        for witness in self._witnesses:
            witness.finished(pick.record)

    def _newest(self) -> Record | None:
        return next(iter(self._picker.records.latest(1)), None)

    def _tell(self, head: RequestHead, before: Record | None, began_ns: int) -> None:
        """Tell of the newest record, unless it was there before."""
        record = self._newest()
        if record is None or record is before:
            return
        found = self._picker.records.find(record.request)
        decided = Decided(
            head=head,
            record=record,
            endpoints=() if found is None else found[1],
            profile=self._picker.profile_of(record.profile),
            began_ns=began_ns,
            ended_ns=time.time_ns(),
        )
        for witness in self._witnesses:
            witness.decided(decided)


def witnessed(picker: Picker, witnesses: Sequence[Witness]) -> Decider:
    """Give the picker as sessions see it."""
    return WitnessedPicker(picker, witnesses) if witnesses else picker
