"""From candidates to a decision: who gets the request, and where to go when it does not answer.

Rules of this file:

- Pure: the same profile, request and candidates, in whatever order, give the same decision.
- Candidates that a filter leaves out stand behind those that stay: they are fallbacks still.
- A plugin that fails does not end a request: the built-in default decides in the place of its profile.
"""

import math
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from argosy.base.endpoint import Endpoint
from argosy.decide.scheduling.loads import Load
from argosy.decide.scheduling.plugins import (
    Asked,
    Column,
    Columns,
    Failure,
    Filter,
    Picker,
    PluginFailed,
    Scorer,
    columns_of,
)
from argosy.decide.scheduling.profiles import BUILT_IN, Profile

T = TypeVar("T")

MAX_ENDPOINTS: Final = 5
"""The pick and its fallbacks: more attempts than this help no client."""


class Part(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one scorer says: its costs before they are weighted."""

    name: str
    weight: float
    costs: Column


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Candidates in order, and per candidate, in that order, its cost, its parts, and the filter that left it out.

    `failure` is why the built-in default decided in the place of the profile.
    """

    candidates: tuple[Load, ...]
    costs: tuple[float, ...]
    parts: tuple[Part, ...] = ()
    left_out: tuple[str, ...]
    failure: Failure | None = None

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
    try:
        return _ranked(profile, asked, candidates)
    except PluginFailed as failed:
        return msgspec.structs.replace(_ranked(BUILT_IN, asked, candidates), failure=failed.failure)


def _ranked(profile: Profile, asked: Asked, candidates: Sequence[Load]) -> Decision:
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
    parts = []
    for each in profile.scorers:
        own = _told("scorer", each.name, _costs, each.scorer, asked, columns, count)
        parts.append(Part(name=each.name, weight=each.weight, costs=own))
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
        kept = _told("filter", name, _kept, each, asked, _of(columns, staying), staying)
        if kept:
            for index in staying:
                left_out[index] = "" if index in kept else name
    return left_out


def _order(profile: Profile, asked: Asked, costs: Column, columns: Columns, left_out: Sequence[str]) -> list[int]:
    order: list[int] = []
    for out in (False, True):
        group = [index for index, name in enumerate(left_out) if bool(name) is out]
        if group:
            own = [costs[index] for index in group]
            name = profile.spec.picker.type
            order += _told("picker", name, _places, profile.picker, asked, own, _of(columns, group), group)
    return order


def _told(kind: str, plugin: str, ask: Callable[..., T], *about: Any) -> T:
    """Give what a plugin says. Raises `PluginFailed` for whatever goes wrong with it."""
    try:
        return ask(*about)
    except Exception as error:  # somebody's code may do anything
        raise PluginFailed(kind, plugin, "".join(traceback.format_exception_only(error)).strip()) from error


def _costs(scorer: Scorer, asked: Asked, columns: Columns, count: int) -> Column:
    costs = scorer.costs(asked, columns)
    if len(costs) != count:
        raise ValueError(f"it gave {len(costs)} costs for {count} candidates")
    # The sum of sound costs may be infinite.
    if not math.isfinite(sum(costs)) and not all(map(math.isfinite, costs)):
        raise ValueError("it gave a cost that is no finite number")
    return costs


def _kept(each: Filter, asked: Asked, columns: Columns, staying: Sequence[int]) -> set[int]:
    keeps = each.keeps(asked, columns)
    return {index for index, stays in zip(staying, keeps, strict=True) if stays}


def _places(picker: Picker, asked: Asked, costs: Column, columns: Columns, group: Sequence[int]) -> list[int]:
    places = picker.order(asked, costs, columns)
    if sorted(places) != list(range(len(group))):
        raise ValueError("it did not name each candidate once")
    return [group[place] for place in places]


def _of(columns: Columns, indices: Sequence[int]) -> Columns:
    """Give the columns of some candidates."""
    if len(indices) == len(next(iter(columns.values()), ())):
        return columns
    return {name: [column[index] for index in indices] for name, column in columns.items()}
