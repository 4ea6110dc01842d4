"""Which JSON schemas llama.cpp may be asked to keep to.

llama.cpp turns a schema into a grammar, and tries every token of the vocabulary against every place of the grammar
where the answer may stand. It does so in the one thread that all slots share, and no cancellation reaches it. An `enum`
of 5,000 values held that thread for 40 s per token, a pattern `^((a?){0,30}){0,30}$` for minutes. So the number of
places is bounded here, before llama.cpp sees the schema:
- Written out, with every `$ref` followed, a schema has at most `MAX_NODES` parts; then alternatives add up to no more.
- What refers to itself does so through at most one alternative: two would double the places with each level.
- A pattern does not repeat groups, has few quantifiers (`a?` 127 times took 1 s per token and more), and what it counts
  adds up to `MAX_COUNTED`.
"""

import re
from typing import Any, Final

MAX_NODES: Final = 1000
MAX_DEPTH: Final = 64
MAX_ENUM: Final = 256
MAX_PROPERTIES: Final = 128
MAX_PATTERN: Final = 256
MAX_COUNTED: Final = 256
MAX_QUANTIFIERS: Final = 16

_TEXT: Final = frozenset({"const", "default", "description", "examples", "title", "$defs", "definitions"})
"""Keys whose values are no schemas; definitions are read where something refers to them."""
_NAMES: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
"""Keys whose values have names of the client's choice for keys."""
_SCALARS: Final = frozenset({"null", "boolean", "string", "integer", "number"})
_REPEATED_GROUP: Final = re.compile(r"\)[*+?{]")
_QUANTIFIERS: Final = re.compile(r"[*+?{]")
_COUNTS: Final = re.compile(r"\{(\d*),?(\d*)\}")


class SchemaError(ValueError):
    """The schema would take too long; the text says what in it."""


def check_schema(schema: Any) -> None:
    """Raise SchemaError for a schema that could hold llama.cpp for long."""
    _Walk(schema).visit(schema, {"#": 0}, unions=0, depth=0)


class _Walk:
    """One schema on its way through."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._nodes = 0

    def visit(self, node: Any, open_refs: dict[str, int], *, unions: int, depth: int) -> None:
        """Count `node` and what is in it; `open_refs` are the references that lead here, with the unions above each."""
        self._count(1)
        if depth > MAX_DEPTH:
            raise SchemaError(f"it is nested more than {MAX_DEPTH} levels deep")
        if isinstance(node, list):
            for part in node:
                self.visit(part, open_refs, unions=unions, depth=depth + 1)
        elif isinstance(node, dict):
            self._visit_keywords(node, open_refs, unions + _is_ambiguous(node), depth)

    def _visit_keywords(self, node: dict[str, Any], open_refs: dict[str, int], unions: int, depth: int) -> None:
        for key, value in node.items():
            if key == "$ref":
                self._follow(value, open_refs, unions, depth)
            elif key == "enum" and isinstance(value, list):
                self._count(_within(len(value), MAX_ENUM, "values in one `enum`"))
            elif key == "pattern" and isinstance(value, str):
                _check_pattern(value)
            elif key in _NAMES and isinstance(value, dict):
                _within(len(value), MAX_PROPERTIES, f"`{key}` of one object")
                self.visit(list(value.values()), open_refs, unions=unions, depth=depth + 1)
            elif key not in _TEXT:
                self.visit(value, open_refs, unions=unions, depth=depth + 1)

    def _follow(self, ref: Any, open_refs: dict[str, int], unions: int, depth: int) -> None:
        if not isinstance(ref, str) or not ref.startswith("#"):
            raise SchemaError(f"`$ref` {str(ref)[:80]!r} does not begin with `#`")
        if ref not in open_refs:
            return self.visit(self._resolve(ref), open_refs | {ref: unions}, unions=unions, depth=depth + 1)
        if unions > open_refs[ref]:
            raise SchemaError(f"{ref[:80]!r} refers to itself through more than one alternative")
        return None

    def _resolve(self, ref: str) -> Any:
        node = self._root
        for step in ref.removeprefix("#").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, dict) or name not in node:
                raise SchemaError(f"`$ref` {ref[:80]!r} leads nowhere")
            node = node[name]
        return node

    def _count(self, parts: int) -> None:
        self._nodes += parts
        _within(self._nodes, MAX_NODES, "parts, with every `$ref` written out")


def _within(number: int, limit: int, what: str) -> int:
    if number > limit:
        raise SchemaError(f"it has more than {limit} {what}")
    return number


def _is_ambiguous(node: dict[str, Any]) -> bool:
    """Two alternatives may begin alike; a scalar is told from an object or a list by its first character."""
    alternatives = [part for key in ("anyOf", "oneOf") if isinstance(node.get(key), list) for part in node[key]]
    return sum(not (isinstance(part, dict) and part.get("type") in _SCALARS) for part in alternatives) > 1


def _check_pattern(pattern: str) -> None:
    _within(len(pattern), MAX_PATTERN, "characters in one `pattern`")
    if _REPEATED_GROUP.search(pattern):
        raise SchemaError("a `pattern` in it repeats a group")
    _within(len(_QUANTIFIERS.findall(pattern)), MAX_QUANTIFIERS, "quantifiers in one `pattern`")
    counted = sum(int(number) for pair in _COUNTS.findall(pattern) for number in pair if number)
    _within(counted, MAX_COUNTED, "repetitions counted in one `pattern`")
