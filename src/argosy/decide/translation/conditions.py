"""Conditions: sentences of status, with the time of their last change kept."""

from collections.abc import Iterable

import msgspec

from argosy.api.objects import Condition
from argosy.base.errors import Refused


def holds(kind: str, *, reason: str | None = None, message: str = "", generation: int | None = None) -> Condition:
    """Give a condition that is true; its reason is its own name unless given."""
    return Condition(type=kind, status="True", reason=reason or kind, message=message, observed_generation=generation)


def fails(kind: str, refused: Refused, *, generation: int | None = None) -> Condition:
    """Give a condition that is false, for the reason of a refusal."""
    return Condition(type=kind, status="False", reason=refused.by, message=refused.why, observed_generation=generation)


def judged(kind: str, refused: Refused | None, *, generation: int | None = None) -> Condition:
    """Give a condition that is true unless something was refused."""
    return holds(kind, generation=generation) if refused is None else fails(kind, refused, generation=generation)


def dated(new: Iterable[Condition], old: Iterable[Condition], now: str) -> tuple[Condition, ...]:
    """Date conditions: the time of the old one of the same type while its status is the same, else `now`."""
    before = {condition.type: condition for condition in old}
    return tuple(
        msgspec.structs.replace(condition, last_transition_time=_since(condition, before.get(condition.type), now))
        for condition in new
    )


def _since(new: Condition, old: Condition | None, now: str) -> str:
    return old.last_transition_time or now if old is not None and old.status == new.status else now
