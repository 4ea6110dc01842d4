"""Candidates written row by row, as tests like them; schedulers have them in columns."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from argosy.base.endpoint import Endpoint
from argosy.decide.scheduling.loads import Loads
from argosy.decide.scheduling.plugins import COLUMNS, Candidates


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate; `requests` under way are those `held` and the `foreign` ones."""

    endpoint: Endpoint
    held: int = 0
    foreign: int = 0
    waiting: float = 0.0
    kv_usage: float = 0.0
    backlog: float = 0.0
    under_way: float = 0.0
    slowness: float = 1.0
    suspect: bool = False
    last_pick: int = 0
    matched: float = 0.0
    pressure: float = 0.0
    session: bool = False
    adapter: bool = False

    @property
    def requests(self) -> int:
        """Those under way."""
        return self.held + self.foreign


def candidates_of(*rows: Row) -> Candidates:
    """Give rows as candidates with all columns there are."""
    columns = {name: [float(getattr(row, name)) for row in rows] for name in sorted(COLUMNS)}
    return Candidates(tuple(row.endpoint for row in rows), columns)


def rows_of(candidates: Candidates) -> list[Row]:
    """Give candidates as rows."""
    columns = {name: values for name, values in candidates.columns.items() if name != "requests"}
    return [
        Row(endpoint=endpoint, **dict(zip(columns, values, strict=True)))
        for endpoint, values in zip(candidates.endpoints, _transposed(columns.values()), strict=True)
    ]


def candidates_among(loads: Loads, endpoints: Iterable[Endpoint], now_s: float) -> Candidates:
    """Give what is believed of endpoints, for a request without a prompt."""
    endpoints = tuple(endpoints)
    columns = loads.columns(endpoints, COLUMNS, now_s)
    return Candidates(endpoints, {name: columns.get(name, [0.0] * len(endpoints)) for name in COLUMNS})


def _transposed(columns: Iterable[Sequence[Any]]) -> Iterable[tuple[Any, ...]]:
    return zip(*columns, strict=True)
