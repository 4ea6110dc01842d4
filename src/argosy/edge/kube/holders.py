"""Which fields of what is wanted others hold, so that they are left to them.

Rules of this file:

- Pure: what is wanted and what was read, as plain values; what may be applied, and what is left out of it.
- Left is what another manager applies with another value, and the replicas that the scale subresource set: whoever
  uses those means to keep the field. A manager that updates (a hand's edit, patch, replace) keeps nothing.
- A field that others hold with the value that is wanted is shared, not left. The server compares before it adds
  defaults and spells quantities its own way: what is the same only after that is left, and not worth a word.
- Of a list whose items have keys, an item's other fields are left one by one; what is owned as a whole is left whole.
- Whatever is decided here, the server's own verdict on conflicts is asked before anything is forced (api_server.py).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from argosy.edge.kube.port import Held
from argosy.edge.kube.settled import QUANTITIES, is_named, same

_NOTHING: Final = object()


class _Left(NamedTuple):
    """A value without what is left of it (`_NOTHING` when that is all), and the paths of what is."""

    rest: Any
    fields: tuple[str, ...]


def left_to_others(
    wanted: Mapping[str, Any], observed: Mapping[str, Any], *, manager: str
) -> tuple[Mapping[str, Any], tuple[Held, ...]]:
    """Give what `manager` may apply of `wanted`, and what it leaves to others."""
    held: dict[str, Held] = {}
    rest: Any = wanted
    for holder, how, owned in _keepers(observed, manager):
        left = _left(rest, observed, owned, ("", ""))
        rest = left.rest
        for field in left.fields:
            held.setdefault(field, Held(field, holder, how))
    return rest, tuple(held[field] for field in sorted(held))


def _keepers(observed: Mapping[str, Any], manager: str) -> Iterator[tuple[str, Literal["apply", "scale"], Any]]:
    """Give whoever keeps what they hold, ordered by name: the manager, how it holds, and its fields."""
    entries = observed["metadata"].get("managedFields") or ()
    for entry in sorted(entries, key=lambda entry: str(entry["manager"])):
        subresource = entry.get("subresource")
        if subresource == "scale":
            yield entry["manager"], "scale", entry["fieldsV1"]
        elif entry["operation"] == "Apply" and not subresource and entry["manager"] != manager:
            yield entry["manager"], "apply", entry["fieldsV1"]


def _left(wanted: Any, observed: Any, owned: Mapping[str, Any], at: tuple[str, str]) -> _Left:
    """Give what is left of a value; `at` is its path, and the name of the field that holds it."""
    if isinstance(wanted, Mapping) and isinstance(observed, Mapping) and any(key.startswith("f:") for key in owned):
        return _left_of_members(wanted, observed, owned, at)
    if isinstance(wanted, list | tuple) and isinstance(observed, list) and owned:
        return _left_of_items(wanted, observed, owned, at)
    path, field = at
    if _listed(wanted) == observed:
        return _Left(wanted, ())
    return _Left(_NOTHING, () if same(wanted, observed, field) else (path,))


def _left_of_members(
    wanted: Mapping[str, Any], observed: Mapping[str, Any], owned: Mapping[str, Any], at: tuple[str, str]
) -> _Left:
    rest: dict[str, Any] = {}
    fields: tuple[str, ...] = ()
    for name, value in wanted.items():
        inner = owned.get(f"f:{name}")
        if inner is None or name not in observed:
            rest[name] = value
            continue
        within = at[1] if at[1] in QUANTITIES else name
        left = _left(value, observed[name], inner, (f"{at[0]}.{name}".removeprefix("."), within))
        fields += left.fields
        if left.rest is not _NOTHING:
            rest[name] = left.rest
    # An empty value would be owned too, and differ from what others have put there.
    return _Left(rest if rest or not wanted else _NOTHING, fields)


def _left_of_items(wanted: Any, observed: list[Any], owned: Mapping[str, Any], at: tuple[str, str]) -> _Left:
    rest = list(wanted)
    fields: tuple[str, ...] = ()
    for key, inner in owned.items():
        form, _, text = key.partition(":")
        if form != "k":
            continue
        name = msgspec.json.decode(text)
        theirs = next((item for item in observed if is_named(item, name, form)), None)
        for index, item in enumerate(rest):
            if theirs is not None and is_named(item, name, form):
                left = _left_of_members(item, theirs, inner, (f"{at[0]}[{_text(name)}]", at[1]))
                rest[index] = left.rest
                fields += left.fields
    return _Left(rest, fields)


def _listed(value: Any) -> Any:
    """Give a value with lists for tuples, as it is read."""
    if isinstance(value, Mapping):
        return {name: _listed(member) for name, member in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _text(name: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={msgspec.json.encode(value).decode()}" for key, value in name.items())
