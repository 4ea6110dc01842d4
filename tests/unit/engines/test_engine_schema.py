"""Schemas that could hold llama.cpp for long are refused; those that people write are not."""

from typing import Any

import pytest

from argosy.apps.engine.schema import SchemaError, check_schema

NODE = {
    "type": "object",
    "properties": {
        "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4,8}$"},
        "enum": {"enum": ["a", "b"]},
        "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}, "maxItems": 100},
    },
    "required": ["pattern"],
}
DOG, CAT = ({"type": "object", "properties": {"kind": {"const": kind}}} for kind in ("dog", "cat"))


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        True,
        {"$defs": {"Node": NODE}, "$ref": "#/$defs/Node"},
        {"$defs": {"Dog": DOG, "Cat": CAT}, "anyOf": [{"$ref": "#/$defs/Dog"}, {"$ref": "#/$defs/Cat"}]},
        {"definitions": {"a/b": DOG}, "items": {"$ref": "#/definitions/a~1b"}},
        {"type": "object", "properties": {"self": {"$ref": "#"}}},
    ],
)
def test_what_people_write_is_taken(schema: Any) -> None:
    check_schema(schema)


def _deep(levels: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def _doubling(levels: int) -> Any:
    """A schema of a few lines that has 2**levels places."""
    defs: dict[str, Any] = {f"n{i}": {"anyOf": [{"$ref": f"#/$defs/n{i + 1}"}] * 2} for i in range(levels)}
    return {"$defs": defs | {f"n{levels}": {"type": "object"}}, "$ref": "#/$defs/n0"}


TREE = {"items": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"$ref": "#/$defs/Tree"}]}}


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"enum": list(range(5000))}, "256 values"),
        ({"properties": {str(number): {} for number in range(200)}}, "128 `properties`"),
        ({"anyOf": [{"type": "object"}] * 1000}, "1000 parts"),
        (_deep(70), "64 levels"),
        (_doubling(12), "1000 parts"),
        ({"$defs": {"Tree": TREE}, "$ref": "#/$defs/Tree"}, "more than one alternative"),
        ({"items": {"oneOf": [{"$ref": "#"}, {"type": "array"}]}}, "more than one alternative"),
        ({"pattern": "^((a?){0,30}){0,30}$"}, "repeats a group"),
        ({"pattern": "(a|a)*"}, "repeats a group"),
        ({"pattern": "a{0,200}a{0,200}"}, "256 repetitions"),
        ({"pattern": "a?" * 100}, "16 quantifiers"),
        ({"pattern": "a?" * 200}, "256 characters"),
        ({"$ref": "http://127.0.0.1/schema"}, "does not begin with `#`"),
        ({"$ref": 5}, "does not begin with `#`"),
        ({"$ref": "#/$defs/Nobody"}, "leads nowhere"),
    ],
)
def test_what_could_hold_llama_cpp_is_refused_with_a_reason(schema: Any, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason):
        check_schema(schema)
