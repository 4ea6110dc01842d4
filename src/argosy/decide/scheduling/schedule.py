"""From candidates to a decision: who gets the request, and where to go when it does not answer.

Rules of this file:

- Pure: the same profile, request and candidates give the same decision.
- Candidates that a filter leaves out stand behind those that stay: they are fallbacks still.
- A plugin that fails does not end a request: the built-in default decides in the place of its profile.
"""

import math
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from argosy.base.endpoint import Endpoint
from argosy.decide.scheduling.plugins import (
    Asked,
    Candidates,
    Column,
    Columns,
    Failure,
    Filter,
    PluginFailed,
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
    """Candidates, and of each, as they stand, its cost, its parts, and the filter that left it out.

    `order` gives their places, that of the pick first. `failure` is why the built-in default decided in the place of
    the profile.
    """

    candidates: Candidates
    order: Sequence[int] = ()
    costs: Column = ()
    parts: Sequence[Part] = ()
    left_out: Sequence[str] = ()
    failure: Failure | None = None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The pick, then its fallbacks."""
        endpoints = self.candidates.endpoints
        return tuple([endpoints[index] for index in self.order[:MAX_ENDPOINTS]])


def schedule(profile: Profile, asked: Asked, candidates: Candidates) -> Decision:
    """Rank the candidates, which have the profile's columns; no candidates, no endpoints."""
    if not candidates.endpoints:
        return Decision(candidates=candidates)
    try:
        return _ranked(profile, asked, candidates)
    except PluginFailed as failed:
        return msgspec.structs.replace(_ranked(BUILT_IN, asked, candidates), failure=failed.failure)


def _ranked(profile: Profile, asked: Asked, candidates: Candidates) -> Decision:
    count, columns = len(candidates.endpoints), candidates.columns
    if profile.has_foreign:
        # What is recorded, and what the built-in default goes by if need be, is nobody's to change.
        columns = {name: tuple(column) for name, column in columns.items()}
    costs, parts = _judged(profile, asked, columns, count)
    left_out = _left_out(profile, asked, columns, count) if profile.filters else [""] * count
    order = (
        _order(profile, asked, costs, columns, left_out) if any(left_out) else _places(profile, asked, costs, columns)
    )
    return Decision(candidates=candidates, order=order, costs=costs, parts=parts, left_out=left_out)


def _judged(profile: Profile, asked: Asked, columns: Columns, count: int) -> tuple[Column, list[Part]]:
    parts = []
    for each in profile.scorers:
        own = _told("scorer", each.name, each.scorer.costs, asked, columns)
        if profile.has_foreign:
            _told("scorer", each.name, _check_costs, own, count)
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


def _order(profile: Profile, asked: Asked, costs: Column, columns: Columns, left_out: Sequence[str]) -> Sequence[int]:
    order: list[int] = []
    for out in (False, True):
        group = [index for index, name in enumerate(left_out) if bool(name) is out]
        own = [costs[index] for index in group]
        order += [group[place] for place in _places(profile, asked, own, _of(columns, group))]
    return order


def _places(profile: Profile, asked: Asked, costs: Column, columns: Columns) -> Sequence[int]:
    places = _told("picker", profile.spec.picker.type, profile.picker.order, asked, costs, columns)
    if profile.has_foreign:
        _told("picker", profile.spec.picker.type, _check_places, places, len(costs))
    return places


def _told(kind: str, plugin: str, ask: Callable[..., T], *about: Any) -> T:
    """Give what a plugin says. Raises `PluginFailed` for whatever goes wrong with it."""
    try:
        return ask(*about)
    except Exception as error:  # somebody's code may do anything
        raise PluginFailed(kind, plugin, "".join(traceback.format_exception_only(error)).strip()) from error


def _check_costs(costs: Column, count: int) -> None:
    if len(costs) != count:
        raise ValueError(f"it gave {len(costs)} costs for {count} candidates")
    # The sum of sound costs may be infinite.
    if not math.isfinite(sum(costs)) and not all(map(math.isfinite, costs)):
        raise ValueError("it gave a cost that is no finite number")


def _kept(each: Filter, asked: Asked, columns: Columns, staying: Sequence[int]) -> set[int]:
    keeps = each.keeps(asked, columns)
    return {index for index, stays in zip(staying, keeps, strict=True) if stays}


def _check_places(places: Sequence[int], count: int) -> None:
    if sorted(places) != list(range(count)):
        raise ValueError("it did not name each candidate once")


def _of(columns: Columns, indices: Sequence[int]) -> Columns:
    """Give the columns of some candidates."""
    if len(indices) == len(next(iter(columns.values()), ())):
        return columns
    return {name: [column[index] for index in indices] for name, column in columns.items()}
