"""Whether an API server's object is already as its owner wants it, so that nothing need be written.

Rules of this file:

- Pure: what is wanted and what was read, as plain values; the answer is a claim about both.
- Every doubt is a no. An apply that was not needed costs milliseconds and changes nothing; one left out is a fault.
- Server-side apply records which fields an owner has applied (`managedFields`, FieldsV1: `f:NAME` a field, `k:{…}` and
  `v:…` an item of a list by its keys or value, `{}` a leaf, which is a scalar or is owned as a whole). Wanted must be
  exactly those fields, each with the observed value: one that is missing was left out since and has to be removed.
- In what is owned as a whole, what is beyond the wanted was left out since, unless the API's own defaults put it there.

Source: kubernetes.io, "Server-Side Apply"; sigs.k8s.io/structured-merge-diff, fieldpath.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from argosy.api.quantity import quantity

_NOTHING: Final[tuple[Any, ...]] = (None, "", [])
"""What a server drops. An empty mapping it may keep: that is how a volume says emptyDir."""
_APART: Final = ("apiVersion", "kind", "metadata")
_NAMES: Final = ("name", "namespace")
QUANTITIES: Final = ("requests", "limits", "divisor", "sizeLimit")
"""Fields whose values, or whose members' values, a server writes its own way."""
_DEFAULTS: Final[dict[tuple[str, str], Any]] = {
    ("parentRefs", "group"): "gateway.networking.k8s.io",
    ("parentRefs", "kind"): "Gateway",
    ("parentRef", "group"): "gateway.networking.k8s.io",
    ("parentRef", "kind"): "Gateway",
    ("rules", "matches"): [{"path": {"type": "PathPrefix", "value": "/"}}],
    ("matches", "path"): {"type": "PathPrefix", "value": "/"},
    ("path", "type"): "PathPrefix",
    ("path", "value"): "/",
    ("headers", "type"): "Exact",
    ("backendRefs", "group"): "",
    ("backendRefs", "kind"): "Service",
    ("backendRefs", "weight"): 1,
    ("fieldRef", "apiVersion"): "v1",
    ("ports", "protocol"): "TCP",
    ("resourceFieldRef", "divisor"): "0",
}
"""What the APIs put into values owned as a whole, by the field that holds it and its own name."""


def settled(wanted: Mapping[str, Any], observed: Mapping[str, Any], *, manager: str) -> bool:
    """Say whether applying `wanted` as field manager `manager` would change nothing of `observed`."""
    entry = next((e for e in observed["metadata"].get("managedFields", ()) if is_apply_of(e, manager)), None)
    if entry is None or entry["apiVersion"] != wanted["apiVersion"]:
        return False
    own = {name: value for name, value in wanted.items() if name not in _APART}
    metadata = {name: value for name, value in wanted["metadata"].items() if name not in _NAMES}
    own |= {"metadata": metadata} if metadata else {}
    return _members_hold(own, observed, entry["fieldsV1"], "")


def status_settled(wanted: Mapping[str, Any], observed: Mapping[str, Any]) -> bool:
    """Say whether replacing the status of `observed` by `wanted` would change nothing."""
    return same(wanted, observed.get("status") or {}, "status")


def is_apply_of(entry: Mapping[str, Any], manager: str) -> bool:
    """Say whether an entry of `managedFields` is what `manager` applies of the object."""
    return entry["manager"] == manager and entry["operation"] == "Apply" and not entry.get("subresource")


def _holds(wanted: Any, observed: Any, owned: Mapping[str, Any], field: str) -> bool:
    if isinstance(wanted, dict) and isinstance(observed, dict) and any(key.startswith("f:") for key in owned):
        return _members_hold(wanted, observed, owned, field)
    if isinstance(wanted, list | tuple) and isinstance(observed, list) and owned:
        return _items_hold(wanted, observed, owned, field)
    return same(wanted, observed, field)


def _members_hold(wanted: dict[str, Any], observed: Mapping[str, Any], owned: Mapping[str, Any], field: str) -> bool:
    inner = {key.removeprefix("f:"): value for key, value in owned.items() if key.startswith("f:")}
    if any(name not in wanted for name in inner):
        return False
    for name, value in wanted.items():
        if name not in observed and value in _NOTHING:
            continue
        if name not in observed or name not in inner:
            return False
        within = field if field in QUANTITIES else name
        if not _holds(value, observed[name], inner[name], within):
            return False
    return True


def _items_hold(wanted: Any, observed: list[Any], owned: Mapping[str, Any], field: str) -> bool:
    found = 0
    for key, inner in owned.items():
        if key == ".":
            continue
        form, _, text = key.partition(":")
        name = msgspec.json.decode(text)
        mine = [item for item in wanted if is_named(item, name, form)]
        theirs = [item for item in observed if is_named(item, name, form)]
        if len(mine) != 1 or len(theirs) != 1 or not _holds(mine[0], theirs[0], inner, field):
            return False
        found += 1
    return found == len(wanted)


def is_named(item: Any, name: Any, form: str) -> bool:
    """Say whether `name` names the item; a key that the item leaves out is one that the API gives a default."""
    if form == "k":
        keys: dict[str, Any] = name
        return isinstance(item, dict) and all(item.get(key, value) == value for key, value in keys.items())
    return form == "v" and bool(item == name)


def same(wanted: Any, observed: Any, field: str) -> bool:
    """Say whether a value, in a field of this name, is what was read, the server's defaults and spellings aside."""
    if isinstance(wanted, dict) and isinstance(observed, dict):
        extra = (name for name in observed if name not in wanted)
        return all(_DEFAULTS.get((field, name)) == observed[name] for name in extra) and all(
            name in observed and same(value, observed[name], field if field in QUANTITIES else name)
            for name, value in wanted.items()
        )
    if isinstance(wanted, list | tuple) and isinstance(observed, list):
        return len(wanted) == len(observed) and all(same(w, o, field) for w, o in zip(wanted, observed, strict=True))
    if field in QUANTITIES and isinstance(wanted, str | int) and isinstance(observed, str | int):
        return _same_quantity(wanted, observed)
    return bool(wanted == observed)


def _same_quantity(wanted: str | int, observed: str | int) -> bool:
    try:
        return quantity(wanted) == quantity(observed)
    except ValueError:
        return wanted == observed
