"""From candidates to a decision: who gets the request, and where to go when it does not answer.

Rules of this file:

- Pure: the same profile, request and candidates, in whatever order, give the same decision.
- Candidates that a filter leaves out stand behind those that stay: they are fallbacks still.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from argosy.base.endpoint import Endpoint
from argosy.decide.scheduling.loads import Load
from argosy.decide.scheduling.plugins import Asked, Column, Columns, columns_of
from argosy.decide.scheduling.profiles import Profile

MAX_ENDPOINTS: Final = 5
"""The pick and its fallbacks: more attempts than this help no client."""


class Part(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one scorer says: its costs before they are weighted."""

    name: str
    weight: float
    costs: Column


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Candidates in order, and per candidate, in that order, its cost, its parts, and the filter that left it out."""

    candidates: tuple[Load, ...]
    costs: tuple[float, ...]
    parts: tuple[Part, ...] = ()
    left_out: tuple[str, ...]

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The pick, then its fallbacks."""
        return tuple(load.endpoint for load in self.candidates[:MAX_ENDPOINTS])


def schedule(profile: Profile, asked: Asked, candidates: Sequence[Load]) -> Decision:
    """Rank the candidates; no candidates, no endpoints."""
    if not candidates:
        return Decision(candidates=(), costs=(), left_out=())
    # Plugins that rank equal ones as they come rank them by name.
    candidates = sorted(candidates, key=_name)
    columns = columns_of(candidates, profile.inputs)
    costs, parts = _judged(profile, asked, columns, len(candidates))
    left_out = _left_out(profile, asked, columns, len(candidates)) if profile.filters else [""] * len(candidates)
    order = _order(profile, asked, costs, columns, left_out)
    return Decision(
        candidates=tuple(candidates[index] for index in order),
        costs=tuple(costs[index] for index in order),
        parts=tuple(
            Part(name=each.name, weight=each.weight, costs=tuple(each.costs[index] for index in order))
            for each in parts
        ),
        left_out=tuple(left_out[index] for index in order),
    )


def _name(load: Load) -> Endpoint:
    return load.endpoint


def _judged(profile: Profile, asked: Asked, columns: Columns, count: int) -> tuple[Column, list[Part]]:
    parts = [
        Part(name=each.name, weight=each.weight, costs=each.scorer.costs(asked, columns)) for each in profile.scorers
    ]
    if len(parts) == 1 and parts[0].weight == 1.0:
        return parts[0].costs, parts
    costs = [0.0] * count
    for part in parts:
        costs = [cost + part.weight * own for cost, own in zip(costs, part.costs, strict=True)]
    return costs, parts


def _left_out(profile: Profile, asked: Asked, columns: Columns, count: int) -> list[str]:
    left_out = [""] * count
    for name, each in profile.filters:
        staying = [index for index in range(count) if not left_out[index]]
        keeps = each.keeps(asked, _of(columns, staying))
        if any(keeps):
            for index, stays in zip(staying, keeps, strict=True):
                left_out[index] = "" if stays else name
    return left_out


def _order(profile: Profile, asked: Asked, costs: Column, columns: Columns, left_out: Sequence[str]) -> list[int]:
    order: list[int] = []
    for out in (False, True):
        group = [index for index, name in enumerate(left_out) if bool(name) is out]
        if group:
            own = [costs[index] for index in group]
            order += [group[place] for place in profile.picker.order(asked, own, _of(columns, group))]
    return order


def _of(columns: Columns, indices: Sequence[int]) -> Columns:
    """Give the columns of some candidates."""
    if len(indices) == len(next(iter(columns.values()), ())):
        return columns
    return {name: [column[index] for index in indices] for name, column in columns.items()}
