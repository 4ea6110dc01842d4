"""Whether a plain value has the shape of a type: every fault at once, each with its path and what to write instead.

`msgspec.convert` stops at the first fault and cannot suggest; this walks the same types. What has no fault converts.
"""

import difflib
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec
from msgspec import inspect

Path: TypeAlias = tuple[str | int, ...]
_SHOWN = 60


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong at a path, and what to do. `reads` are other fields that the verdict rests on."""

    path: Path
    reason: str
    fix: str
    reads: tuple[Path, ...] = ()


def dotted(path: Path) -> str:
    """Give a path as people write it: `spec.model.adapters[0].name`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def faults(kind: inspect.Type, value: Any, path: Path = ()) -> Iterator[Fault]:
    """Give every place where a plain value (as from YAML, without nulls) has another shape than the type."""
    annotated, (kind, _) = kind, unwrapped(kind)
    match kind:
        case inspect.UnionType():
            yield from _union_faults(kind, value, path)
        case inspect.StructType() if isinstance(value, dict):
            yield from _struct_faults(kind, value, path)
        case inspect.VarTupleType() if isinstance(value, list):
            if kind.max_length is not None and len(value) > kind.max_length:
                yield Fault(
                    path=path, reason=f"has {len(value)} entries", fix=f"at most {kind.max_length} are possible"
                )
            for index, item in enumerate(value):
                yield from faults(kind.item_type, item, (*path, index))
        case inspect.DictType() if isinstance(value, dict):
            for name, item in value.items():
                yield from faults(kind.value_type, item, (*path, name))
        case _:
            if not _fits(kind, value):
                yield _wrong(annotated, value, path)


def unwrapped(kind: inspect.Type) -> tuple[inspect.Type, str]:
    """Give the type without its annotations, and the description in them."""
    description = ""
    while isinstance(kind, inspect.Metadata):
        description = description or (kind.extra_json_schema or {}).get("description", "")
        kind = kind.type
    return kind, description


def expected(kind: inspect.Type) -> str:
    """Say in words what a type takes."""
    words = "text"
    match kind:
        case inspect.Metadata():
            words = (kind.extra or {}).get("expected") or expected(kind.type)
        case inspect.UnionType():
            words = " or ".join(expected(k) for k in kind.types if not isinstance(k, inspect.NoneType))
        case inspect.StructType():
            words = f"a mapping with {', '.join(field.encode_name for field in kind.fields)}"
        case inspect.VarTupleType():
            words = "a list"
        case inspect.DictType():
            words = "a mapping of names to text"
        case inspect.LiteralType():
            words = ("one of " if len(kind.values) > 1 else "") + ", ".join(str(value) for value in kind.values)
        case inspect.IntType():
            words = "a whole number" + ("" if kind.ge is None else f" from {kind.ge} to {kind.le}")
        case inspect.FloatType():
            words = "a number"
        case inspect.BoolType():
            words = "true or false"
    return words


def _union_faults(union: inspect.UnionType, value: Any, path: Path) -> Iterator[Fault]:
    kinds = [(kind, unwrapped(kind)[0]) for kind in union.types]
    if isinstance(value, dict):
        struct = next((kind for kind, plain in kinds if isinstance(plain, inspect.StructType)), None)
        if struct is not None:
            yield from faults(struct, value, path)
            return
    if not _fits(union, value):
        yield _wrong(union, value, path)


def _struct_faults(struct: inspect.StructType, value: dict[str, Any], path: Path) -> Iterator[Fault]:
    fields = {field.encode_name: field for field in struct.fields}
    for name, item in value.items():
        if name in fields:
            yield from faults(fields[name].type, item, (*path, name))
        else:
            yield _unknown(name, list(fields), value, path)
    for name, field in fields.items():
        if field.required and name not in value:
            yield Fault(path=(*path, name), reason="is missing", fix=f"write {expected(field.type)}")


def _unknown(name: str, names: list[str], present: dict[str, Any], path: Path) -> Fault:
    lower = {known.lower(): known for known in names if known not in present}
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    if not close:
        return Fault(path=(*path, name), reason="is no field", fix=f"the fields here are {', '.join(names)}")
    meant = lower[close[0]]
    return Fault(path=(*path, name), reason="is no field", fix=f"did you mean {meant}?", reads=((*path, meant),))


def _fits(kind: inspect.Type, value: Any) -> bool:  # noqa: PLR0911 - one for each type
    kind, _ = unwrapped(kind)
    match kind:
        case inspect.UnionType():
            return any(_fits(one, value) for one in kind.types)
        case inspect.LiteralType():
            return isinstance(value, str) and value in kind.values
        case inspect.IntType():
            is_int = isinstance(value, int) and not isinstance(value, bool)
            return is_int and (kind.ge is None or value >= kind.ge) and (kind.le is None or value <= kind.le)
        case inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.AnyType():
            return True
        case inspect.StrType():
            return (
                isinstance(value, str)
                and (kind.max_length is None or len(value) <= kind.max_length)
                and (kind.pattern is None or re.fullmatch(kind.pattern, value) is not None)
            )
        case _:
            return False


def _wrong(kind: inspect.Type, value: Any, path: Path) -> Fault:
    plain, _ = unwrapped(kind)
    words = plain.values if isinstance(plain, inspect.LiteralType) else ()
    if isinstance(plain, inspect.UnionType):
        words = tuple(v for k in plain.types if isinstance(k, inspect.LiteralType) for v in k.values)
    close = difflib.get_close_matches(value, [str(word) for word in words], n=1) if isinstance(value, str) else []
    hint = f" (did you mean {close[0]}?)" if close else ""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value) and _fits(kind, int(value)):
        hint = " (without quotes)"
    return Fault(path=path, reason=f"is {_shown(value)}", fix=f"write {expected(kind)}{hint}")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'the text "{value if len(value) <= _SHOWN else value[: _SHOWN - 3] + "..."}"'
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"the number {value}"
    names: dict[type, str] = {list: "a list", dict: "a mapping"}
    return names.get(type(value)) or {None: "empty", True: "true", False: "false"}[value]
