"""YAML (or JSON) text as plain values that know their lines.

Rules of this file:

- Read as YAML 1.2's core schema, which is what people expect: `no` and `2026-01-01` are text; only null, true, false
  and numbers are not.
- Everything is bounded: depth, and the number of values after aliases are followed. Tags and merge keys are refused.
- A null field is an absent one, as in Kubernetes.
- One broken document hides those after it, never those before it.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import yaml

from argosy.api.shape import Path

MAX_DEPTH: Final = 32
MAX_VALUES: Final = 20_000

_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """Text that cannot be read. `line` counts from 1."""

    line: int
    path: Path = ()
    reason: str
    fix: str


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One document: its plain value, where each path of it stands, and the mistakes that were read past."""

    value: Any
    lines: dict[Path, int]
    mistakes: tuple[Mistake, ...] = ()

    def line(self, path: Path) -> int:
        """Give the line of a path, or of the nearest value around it."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


class _UnreadableError(Exception):
    def __init__(self, mistake: Mistake) -> None:
        self.mistake = mistake


def documents(text: str) -> tuple[tuple[Document, ...], Mistake | None]:
    """Give the documents of a text, empty ones left out, and the mistake that ended the reading, if one did."""
    found: list[Document] = []
    try:
        events = yaml.parse(text, Loader=_LOADER)
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                document = _Composer(events).document()
                if document.value is not None or document.mistakes:
                    found.append(document)
    except _UnreadableError as error:
        return tuple(found), error.mistake
    except yaml.YAMLError as error:
        return tuple(found), _syntax_mistake(error, text)
    return tuple(found), None


def _syntax_mistake(error: yaml.YAMLError, text: str) -> Mistake:
    mark = getattr(error, "problem_mark", None)
    position = getattr(error, "position", 0)
    line = mark.line + 1 if mark is not None else text.count("\n", 0, position) + 1
    lines = text.splitlines()
    reason = f"not YAML: {getattr(error, 'problem', None) or getattr(error, 'reason', None) or error}"
    if line <= len(lines) and lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip())].count("\t"):
        return Mistake(line=line, reason="not YAML: a tab indents this line", fix="indent with spaces")
    return Mistake(line=line, reason=reason, fix="look at this line and the one above: indentation, colons, quotes")


class _Composer:
    """Builds one document from its events."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._lines: dict[Path, int] = {}
        self._mistakes: list[Mistake] = []
        self._count = 0

    def document(self) -> Document:
        value = self._node(next(self._events), ())
        return Document(value=value, lines=self._lines, mistakes=tuple(self._mistakes))

    def _node(self, event: Any, path: Path) -> Any:
        line = event.start_mark.line + 1
        self._lines.setdefault(path, line)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _UnreadableError(
                    Mistake(line=line, path=path, reason=f"*{event.anchor} names nothing before it", fix="write it out")
                )
            value, size = self._anchors[event.anchor]
            self._grow(size, line, path)
            return value
        if event.tag is not None and not (event.tag == "!" or event.tag.startswith("tag:yaml.org,2002:str")):
            raise _UnreadableError(
                Mistake(line=line, path=path, reason=f"has a tag ({event.tag})", fix="leave the tag out")
            )
        before = self._count
        self._grow(1, line, path)
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event.value) if event.implicit[0] else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(path)
        else:
            value = self._mapping(path)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._count - before)
        return value

    def _sequence(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        seen: set[str] = set()
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                raise _UnreadableError(
                    Mistake(line=line, path=path, reason="has a key that is no text", fix="write a name")
                )
            name = event.value
            if name == "<<":
                raise _UnreadableError(
                    Mistake(line=line, path=path, reason="has a merge key (<<)", fix="write the fields out")
                )
            twice = name in seen
            seen.add(name)
            if not twice:
                self._lines[(*path, name)] = line
            value = self._node(next(self._events), (*path, name))
            if twice:
                first = self._lines[(*path, name)]
                self._mistakes.append(
                    Mistake(line=line, path=(*path, name), reason=f"stands here and on line {first}", fix="keep one")
                )
            elif value is not None:
                fields[name] = value
        return fields

    def _grow(self, size: int, line: int, path: Path) -> None:
        self._count += size
        if self._count > MAX_VALUES:
            raise _UnreadableError(
                Mistake(line=line, reason=f"more than {MAX_VALUES} values, aliases followed", fix="split the document")
            )
        if len(path) > MAX_DEPTH:
            raise _UnreadableError(
                Mistake(line=line, reason=f"nested more than {MAX_DEPTH} deep", fix="no field lies that deep")
            )


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
