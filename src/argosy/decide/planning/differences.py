"""What a change of a service would change: object by object, field by field.

Rules of this file:

- Only what somebody wants is compared: of an observed object the fields that the plan before or the plan after speaks
  of. What a server adds, and what others own, is no difference.
- Fields that are left to others (`HeldField`) stay as they are.
- The mark of planning is shown only where nothing else differs: then a field goes that neither plan speaks of.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec
import yaml

from argosy.api.llmservice import HeldField, LLMService
from argosy.api.objects import Key, Object, encode
from argosy.decide.planning.capabilities import CLUSTER, Capabilities, Weights
from argosy.decide.planning.changes import MARK, changes, marked
from argosy.decide.planning.stand_ins import served
from argosy.decide.planning.workload import workload

_NAMED: Final = ("name", "namespace", "labels", "annotations")
"""What of the metadata of a service is a user's."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """An object that would be made, changed or removed. `before` and `after` hold what differs, and what is alike."""

    verb: Literal["create", "update", "delete"]
    kind: str
    key: Key
    before: Any = None
    after: Any = None

    def lines(self) -> tuple[str, ...]:
        """Give it as a unified diff of YAML; nothing for an object that goes."""
        if self.verb == "delete":
            return ()
        before, after = (_yaml(value).splitlines() for value in (self.before, self.after))
        name = f"{self.kind} {self.key}"
        return tuple(difflib.unified_diff(before, after, f"{name} (now)", f"{name} (then)", lineterm=""))


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A service that somebody wants otherwise.

    `before` is the service as it is stored, None for a new one; `observed` are the objects of its name, and `held` the
    fields of them that are left to others. Without `drift` what the plan before wanted stands for what is observed: for
    a place whose planner is of another version than ours.
    """

    before: LLMService | None
    after: LLMService
    observed: tuple[Object, ...] = ()
    held: tuple[HeldField, ...] = ()
    drift: bool = True


def object_differences(
    case: Case, *, capabilities: Capabilities = CLUSTER, weights: Mapping[str, Weights] | None = None
) -> tuple[Difference, ...]:
    """Give what would change of the objects that a service owns, in the order of the changes."""

    def planned(service: LLMService) -> dict[tuple[str, Key], Object]:
        objects = workload(served(service, capabilities, weights or {}))
        return {(obj.KIND, obj.key): marked(obj) for obj in objects}

    uid = case.before.metadata.uid if case.before else None
    metadata = msgspec.structs.replace(case.after.metadata, uid=uid)
    after = planned(msgspec.structs.replace(case.after, metadata=metadata))
    before = planned(case.before) if case.before else {}
    observed = {(obj.KIND, obj.key): obj for obj in case.observed} if case.drift else before
    found: list[Difference] = []
    for change in changes(after.values(), observed.values()):
        name = (change.object.KIND, change.object.key)
        if change.verb == "update":
            found += _update(observed[name], before.get(name), after[name], case.held)
        else:
            plain = None if change.delete else _without_mark(encode(change.object))
            found.append(Difference(verb=change.verb, kind=name[0], key=name[1], after=plain))
    return tuple(found)


def document_difference(kind: str, key: Key, before: Any, after: Any) -> tuple[Difference, ...]:
    """Give what would change of a service itself; both are plain values as a store has them, None where it is not."""
    now, then = (_user_part(value) for value in (before, after))
    if now == then:
        return ()
    return (Difference(verb="update" if now else "create", kind=kind, key=key, before=now, after=then),)


def _update(
    observed: Object, planned_before: Object | None, wanted: Object, held: Iterable[HeldField]
) -> tuple[Difference, ...]:
    whole, then = encode(observed), encode(wanted)
    earlier = encode(planned_before) if planned_before else None
    now = part_of(whole, then, earlier)
    for field in held:
        if field.object == f"{observed.KIND}/{observed.metadata.name}":
            _keep(field.field.split("."), whole, now, then)
    bare = [pruned(_without_mark(value)) for value in (now, then)]
    shown = bare if bare[0] != bare[1] else [pruned(value) for value in (now, then)]
    if shown[0] == shown[1]:
        return ()
    return (Difference(verb="update", kind=observed.KIND, key=observed.key, before=shown[0], after=shown[1]),)


def part_of(whole: Any, *parts: Any) -> Any:
    """Give of plain values what any of `parts` speaks of; items of lists go together by name, or else by place."""
    if isinstance(whole, dict):
        mappings = [part for part in parts if isinstance(part, dict)]
        if not mappings:
            return whole
        return {
            name: part_of(value, *(part[name] for part in mappings if name in part))
            for name, value in whole.items()
            if any(name in part for part in mappings)
        }
    if isinstance(whole, list | tuple):
        lists = [part for part in parts if isinstance(part, list | tuple)]
        return [part_of(item, *(_counterpart(item, index, part) for part in lists)) for index, item in enumerate(whole)]
    return whole


def _counterpart(item: Any, index: int, items: Any) -> Any:
    if isinstance(item, dict) and "name" in item:
        return next((each for each in items if isinstance(each, dict) and each.get("name") == item["name"]), None)
    return items[index] if index < len(items) else None


def pruned(value: Any) -> Any:
    """Give plain values without empty ones."""
    if isinstance(value, dict):
        members = {name: pruned(member) for name, member in value.items()}
        return {name: member for name, member in members.items() if member not in (None, {}, [], "")}
    return [pruned(item) for item in value] if isinstance(value, list | tuple) else value


def _keep(path: list[str], whole: Any, *values: Any) -> None:
    """Put a field's value of `whole` into others, where they have what it stands in."""
    for name in path[:-1]:
        if not all(isinstance(each, dict) and name in each for each in (whole, *values)):
            return
        whole, values = whole[name], tuple(each[name] for each in values)
    for each in values:
        if isinstance(whole, dict) and path[-1] in whole:
            each[path[-1]] = whole[path[-1]]


def _without_mark(plain: dict[str, Any]) -> dict[str, Any]:
    metadata = plain["metadata"]
    annotations = {name: value for name, value in metadata.get("annotations", {}).items() if name != MARK}
    return plain | {"metadata": metadata | {"annotations": annotations}}


def _user_part(plain: Any) -> Any:
    """Give of a stored service what its users write."""
    if plain is None:
        return None
    metadata = {name: value for name, value in plain["metadata"].items() if name in _NAMED}
    bare = {name: value for name, value in plain.items() if name != "status"}
    return pruned(bare | {"metadata": metadata})


def _yaml(plain: Any) -> str:
    if plain is None:
        return ""
    # Servers order mappings by name; so that order is no difference, all are.
    return yaml.safe_dump(msgspec.to_builtins(plain), sort_keys=True, allow_unicode=True, width=120)
