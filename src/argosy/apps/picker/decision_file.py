"""A share of all decisions in a file, each when its outcome is known; `argosy why --file` makes them once more."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from argosy.apps.picker.metrics import PickerMetrics
from argosy.apps.picker.witness import Decided
from argosy.decide.routing.endpoints import PoolEndpoint
from argosy.decide.scheduling.record import Record
from argosy.decide.scheduling.recorded import decision_line, is_sampled, pool_line
from argosy.edge.telemetry.line_file import LineFile, written

Put = Callable[[Record, Sequence[PoolEndpoint]], None]
SHARE: Final = 0.01
MAX_BYTES: Final = 64 * 1024 * 1024


class DecisionFile(msgspec.Struct, frozen=True, kw_only=True):
    """Where decisions are written, which share of all requests, and the size of that and its older parts together."""

    path: str
    share: float = SHARE
    max_bytes: int = MAX_BYTES


class DecisionWriter:
    """Chooses decisions by their requests' ids, and puts each when it is finished."""

    def __init__(self, put: Put, share: float) -> None:
        self._put = put
        self._share = share
        self._under_way: dict[int, Sequence[PoolEndpoint]] = {}

    def decided(self, decided: Decided) -> None:
        """Put a refusal; keep the pool's state of a pick, whose record lives as long as the request."""
        if not is_sampled(decided.record.request, self._share):
            return
        if decided.record.refused:
            self._put(decided.record, decided.endpoints)
        else:
            self._under_way[id(decided.record)] = decided.endpoints

    def finished(self, record: Record) -> None:
        """Put it."""
        endpoints = self._under_way.pop(id(record), None)
        if endpoints is not None:
            self._put(record, endpoints)


@contextlib.asynccontextmanager
async def writing_decisions(settings: DecisionFile, metrics: PickerMetrics) -> AsyncIterator[DecisionWriter]:
    """Write decisions while the context lasts."""
    file: LineFile[Record, Sequence[PoolEndpoint]] = LineFile(
        Path(settings.path),
        max_bytes=settings.max_bytes,
        encode=decision_line,
        introduce=pool_line,
        count=metrics.count_decision_lines,
    )
    async with written(file):
        yield DecisionWriter(file.put, settings.share)
