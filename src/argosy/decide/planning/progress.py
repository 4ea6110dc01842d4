"""How far a service is that somebody has just applied: the end of a wait, or what it waits for."""

from typing import Literal

import msgspec

from argosy.api.llmservice import LLMService, StoredService
from argosy.api.objects import Condition


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """`serving` ends a wait well, `gone` ends it badly; `failing` may still recover. `sentence` says what is so."""

    state: Literal["waiting", "serving", "failing", "gone"]
    sentence: str


def progress_of(service: LLMService | StoredService | None, *, generation: int | None) -> Progress:
    """Say how far a service is, as of a generation of its spec; of one that is not there, that it is gone."""
    if service is None:
        return Progress(state="gone", sentence="It has been deleted.")
    status = service.status
    if (status.observed_generation or 0) < (generation or 0):
        return Progress(state="waiting", sentence="Nobody has looked at it yet: it waits for the operator.")
    conditions = {condition.type: condition for condition in status.conditions}
    planned, available, progressing = (conditions.get(name) for name in ("Planned", "Available", "Progressing"))
    if planned is not None and planned.status == "False" and planned.reason != "Waiting":
        return Progress(state="failing", sentence=planned.message)
    if progressing is not None and progressing.reason == "Failing":
        return Progress(state="failing", sentence=progressing.message)
    if _settled(progressing) and available is not None and (available.status == "True" or not status.replicas):
        return Progress(state="serving", sentence=available.message)
    said = progressing if progressing is not None and progressing.status == "True" else available
    return Progress(state="waiting", sentence=said.message if said else "It is being planned.")


def _settled(progressing: Condition | None) -> bool:
    return progressing is not None and progressing.reason == "Settled"
