"""What the picker believes and has decided, as JSON for `argosy why` and for people."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from argosy.api.names import DECISIONS_PATH
from argosy.apps.picker.picker import Picker
from argosy.decide.routing.endpoints import PoolEndpoint
from argosy.decide.scheduling.explanation import Explanation, explanation
from argosy.decide.scheduling.loads import Load
from argosy.decide.scheduling.record import Record
from argosy.edge.http.probes import Document

ENDPOINTS_PATH: Final = "/debug/endpoints"
LATEST: Final = 100
"""Decisions that are listed."""


def documents(picker: Picker) -> Mapping[str, Document]:
    """Give the documents by path."""

    def decisions(request: str) -> bytes | None:
        if not request:
            return msgspec.json.encode([_line(record) for record in picker.records.latest(LATEST)])
        found = picker.records.find(request)
        return None if found is None else msgspec.json.encode(explained(*found))

    def explained(record: Record, endpoints: Sequence[PoolEndpoint]) -> Explanation:
        return explanation(record, endpoints, picker.profile_of(record.profile))

    def endpoints(pool: str) -> bytes | None:
        believed = {str(key): loads for key, loads in picker.believed().items() if pool in ("", str(key))}
        if pool and not believed:
            return None
        return msgspec.json.encode(
            {name: [_believed(picker, load) for load in loads] for name, loads in believed.items()}
        )

    return {DECISIONS_PATH: decisions, ENDPOINTS_PATH: endpoints}


def _line(record: Record) -> dict[str, Any]:
    shown = msgspec.structs.asdict(record)
    del shown["candidates"], shown["subset"]
    if record.prefill is not None:
        shown["prefill"] = {**msgspec.structs.asdict(record.prefill), "candidates": len(record.prefill.candidates)}
    return {**shown, "picked": "" if record.picked is None else str(record.picked)}


def _believed(picker: Picker, load: Load) -> dict[str, Any]:
    held, room = picker.beliefs.cached_at(load.endpoint)
    return {**msgspec.structs.asdict(load), "endpoint": str(load.endpoint), "cached_blocks": held, "cache_room": room}
