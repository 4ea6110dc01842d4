"""Makes docs/reference/ from the types, parsers and registries themselves: `.venv/bin/python scripts/reference.py`.

Rules of this file:

- The same tree gives the same bytes on every Python and in every terminal; so nothing here is argparse's own layout.
- What a page says stands where the thing is defined. What reads badly is put right there, not here.
"""

import argparse
import json
import runpy
from collections.abc import Iterable, Iterator, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Any

from msgspec import NODEFAULT, Struct, inspect
from prometheus_client import CollectorRegistry

from argosy.api.llmservice import LLMService, LLMServiceSpec, LLMServiceStatus
from argosy.api.names import ENGINE_PORT, METRICS_PORT
from argosy.api.shape import expected, unwrapped
from argosy.apps.engine.metrics import Metrics
from argosy.apps.picker.metrics import PickerMetrics
from argosy.cli import EXIT_CODES, VERBS, register
from argosy.decide.planning.observation import FAIL_OPENS, Observation

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTE = "<!-- Made by scripts/reference.py. Change what it reads, and make it anew. -->"


def pages() -> dict[str, str]:
    """Give the text of every page by its file name."""
    made = {
        "llmservice.md": _llmservice(),
        "cli.md": _cli(),
        "chart.md": _chart(),
        "metrics.md": _metrics(),
        "status-json.md": _status_json(),
    }
    return {name: "\n".join([NOTE, *lines]) + "\n" for name, lines in made.items()}


def _llmservice() -> Iterator[str]:
    yield "# LLMService"
    yield f"\n{LLMService.__doc__}"
    yield f"\n```yaml\napiVersion: {LLMService.API_VERSION}\nkind: {LLMService.KIND}"
    yield "metadata: {name: NAME}\nspec: …\n```"
    yield "\nA field without a default may be left out; its description says what that means."
    for root, path in ((LLMServiceSpec, "spec"), (LLMServiceStatus, "status")):
        for title, doc, fields in _structs(root, path):
            yield f"\n## {title}\n\n{doc}\n"
            yield from _table(
                ("field", "takes", "default", "meaning"),
                ([f"`{f.encode_name}`", _takes(f.type), _default(f), _description(f.type)] for f in fields),
            )


def _status_json() -> Iterator[str]:
    yield "# `argosy status --json`"
    yield "\nEvery field is always there, but those of conditions that are null or empty."
    for title, doc, fields in _structs(Observation, ""):
        yield f"\n## {title or 'The whole'}\n\n{doc}\n"
        yield from _table(
            ("field", "type"), ([f"`{f.encode_name}`", _takes(f.type) + _or_null(f.type)] for f in fields)
        )


def _structs(root: type[Struct], path: str) -> Iterator[tuple[str, str, Sequence[inspect.Field]]]:
    """Give title, description and fields of a struct and of all within; one that stands in several places, once."""
    places: dict[type[Any], list[str]] = {}
    found: dict[type[Any], inspect.StructType] = {}

    def visit(annotated: inspect.Type, path: str) -> None:
        kind, _ = unwrapped(annotated)
        match kind:
            case inspect.StructType():
                found[kind.cls] = kind
                places.setdefault(kind.cls, []).append(f"`{path.removeprefix('.')}`" if path else "")
                for field in kind.fields:
                    visit(field.type, f"{path}.{field.encode_name}")
            case inspect.VarTupleType():
                visit(kind.item_type, f"{path}[]")
            case inspect.UnionType():
                for one in kind.types:
                    visit(one, path)

    visit(inspect.type_info(root), path)
    for cls, struct in found.items():
        yield ", ".join(places[cls]), cleandoc(cls.__doc__ or ""), struct.fields


def _takes(annotated: inspect.Type) -> str:
    kind, _ = unwrapped(annotated)
    match kind:
        case inspect.UnionType():
            return " or ".join(_takes(one) for one in kind.types if not isinstance(one, inspect.NoneType))
        case inspect.VarTupleType():
            most = "" if kind.max_length is None else f" (at most {kind.max_length})"
            return f"a list{most}: {_takes(kind.item_type)}"
        case inspect.StructType():
            return "a mapping, see below"
        case inspect.BoolType():
            return "true or false"
        case _:
            return expected(annotated)


def _or_null(kind: inspect.Type) -> str:
    null = isinstance(kind, inspect.UnionType) and any(isinstance(one, inspect.NoneType) for one in kind.types)
    return " or null" if null else ""


def _default(field: inspect.Field) -> str:
    if field.required:
        return "required"
    if field.default in (NODEFAULT, None) or isinstance(field.default, Struct):
        return ""
    shown = {(): "[]", "": '""'}
    return f"`{shown.get(field.default, field.default)}`"


def _description(annotated: inspect.Type) -> str:
    kind, description = unwrapped(annotated)
    inner = kind.types if isinstance(kind, inspect.UnionType) else ()
    return description or next(filter(None, map(_description, inner)), "")


def _cli() -> Iterator[str]:
    yield f"# Command line\n\n`argosy VERB …`; {EXIT_CODES}."
    verbs = argparse.ArgumentParser(prog="argosy").add_subparsers()
    for name in VERBS:
        register(name, verbs)
        parser = verbs.choices[name]
        yield f"\n## argosy {name}\n\n{parser.description}"
        actions = [a for a in parser._actions if a.help != argparse.SUPPRESS and a.dest != "help"]  # noqa: SLF001
        if actions:
            yield ""
            yield from _table(("argument", "meaning"), ([_argument(a), _help(a)] for a in actions))
        if parser.epilog:
            yield f"\n```text\n{parser.epilog}\n```"


def _chart() -> Iterator[str]:
    yield "# Helm chart"
    yield "\n`helm install argosy charts/argosy` installs what `argosy install` does: the chart is made from the same"
    yield "objects by `scripts/chart.py`, and its schema refuses what is no value. Images have the chart's version."
    yield "CRDs are in `crds/`: Helm brings them where they are missing, and neither changes nor removes them."
    yield "Everything lies in namespace `argosy-system`, whatever namespace the release is kept in.\n"
    choices = runpy.run_path(str(Path(__file__).parent / "chart.py"))["choices"]()
    rows = ([f"`{each.path}`", f"`{json.dumps(each.default)}`", each.meaning] for each in choices)
    yield from _table(("value", "as it comes", "meaning"), rows)


def _argument(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    if action.option_strings:
        return f"`{', '.join(action.option_strings)}{value and ' ' + value}`"
    many = "…" if action.nargs in ("*", "+") else ""
    return f"`[{value}{many}]`" if action.nargs in ("*", "?") else f"`{value}{many}`"


def _help(action: argparse.Action) -> str:
    text = (action.help or "") % {**vars(action), "prog": "argosy"}
    return f"{text}; required" if action.required and action.option_strings else text


def _metrics() -> Iterator[str]:
    engine = Metrics("MODEL")
    engine.show_load(running=lambda: 0, waiting=lambda: 0)
    yield "# Metrics\n\nAll in Prometheus' text format. A histogram has `_bucket`, `_sum` and `_count`."
    yield f"\n## Picker\n\n`http://POD:{METRICS_PORT}/metrics`\n"
    yield from _families(PickerMetrics()._registry)  # noqa: SLF001
    yield f"\n## Engine\n\n`http://POD:{ENGINE_PORT}/metrics`; names and meanings are vLLM's.\n"
    yield from _families(engine._registry)  # noqa: SLF001
    yield f"\n## Envoy\n\n`http://POD:{METRICS_PORT}/stats/prometheus`: Envoy's own, of which `argosy status` reads:\n"
    meaning = "Requests that went on without the picker's answer; `fail_opens` in status"
    yield from _table(("name", "type", "meaning"), [[f"`{FAIL_OPENS}`", "counter", meaning]])


def _families(registry: CollectorRegistry) -> Iterator[str]:
    """Give the table of a registry. Only the collectors know the labels of a family that has no series yet."""
    rows = []
    for collector in registry._collector_to_names:  # noqa: SLF001
        for family in collector.collect():
            names = getattr(collector, "_labelnames", getattr(family, "_labelnames", ()))
            labels = ", ".join(f"`{label}`" for label in names)
            name = f"{family.name}_total" if family.type == "counter" else family.name
            rows.append([f"`{name}`", family.type, labels, family.documentation.rstrip(".")])
    return _table(("name", "type", "labels", "meaning"), rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for cells in (columns, ["---"] * len(columns), *rows):
        line = " | ".join(cell.replace("|", "\\|") for cell in cells)
        yield f"| {line} |"


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
        print(f"docs/reference/{name}: {len(text.splitlines())} lines")
