"""Items that hands added to lists of ours, given to us so that the next apply removes them.

A hand that changes a key of an item, such as the port of a Service, has removed our item and added one of its own. Ours
comes back with the next apply, theirs stays, and where both may not be (two ports of one name) the server refuses the
apply for good. The way out is the one that client-go's csaupgrade takes: who holds an item is itself a field of the
object, `metadata.managedFields`. An item that is ours and that we leave out is removed by the server.

Pure: what is wanted and what was read, as plain values; a JSON patch, which changes nothing but who holds what.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from argosy.edge.kube.settled import is_apply_of, is_named

_Fields = Mapping[str, Any]
_ENTRIES: Final = "/metadata/managedFields"
_PART: Final = "f:spec"


def adopted(wanted: Mapping[str, Any], observed: Mapping[str, Any], *, manager: str) -> list[dict[str, Any]]:
    """Give the patch by which `manager` takes the items that hands added to lists of its spec; empty when none did."""
    entries: list[dict[str, Any]] = []
    taken: _Fields = {}
    for entry in observed["metadata"].get("managedFields") or ():
        fields = entry["fieldsV1"]
        if entry["operation"] == "Update" and not entry.get("subresource"):
            spec, additions = _split(fields.get(_PART, {}), wanted.get("spec"))
            fields = {name: value for name, value in {**fields, _PART: spec}.items() if value}
            taken = _joined(taken, additions)
        entries.append(entry | {"fieldsV1": fields})
    ours = next((entry for entry in entries if is_apply_of(entry, manager)), None)
    if ours is None or not taken:
        return []
    ours["fieldsV1"] = _joined(ours["fieldsV1"], {_PART: taken})
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": observed["metadata"]["resourceVersion"]},
        {"op": "replace", "path": _ENTRIES, "value": [entry for entry in entries if entry["fieldsV1"]]},
    ]


def _split(fields: _Fields, wanted: Any) -> tuple[_Fields, _Fields]:
    """Give the fields without the items that `wanted` does not have in its lists, and those items' fields."""
    kept, taken = {}, {}
    for key, inner in fields.items():
        form, _, text = key.partition(":")
        if form == "k" and isinstance(wanted, list | tuple):
            part = next((item for item in wanted if is_named(item, msgspec.json.decode(text), form)), None)
            if part is None:
                taken[key] = inner
                continue
        else:
            part = wanted.get(text) if form == "f" and isinstance(wanted, Mapping) else None
        rest, additions = _split(inner, part)
        if additions:
            taken[key] = additions
        if rest or not inner:
            kept[key] = rest
    return kept, taken


def _joined(some: _Fields, more: _Fields) -> _Fields:
    return {**some, **{key: _joined(some.get(key, {}), inner) for key, inner in more.items()}}
