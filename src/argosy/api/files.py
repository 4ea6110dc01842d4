"""The text of files → LLMServices, or every problem in them with file, line, field, reason and fix.

Rules of this file:

- Pure: the caller reads the files. All files are read together, since names must differ across them.
- A file is for people: unknown fields are refused, while fields that only a server writes (uid, status …) are dropped.
- A fault that may only follow from another one is left out.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import msgspec
from msgspec import inspect

from argosy.api.documents import Document, Mistake, documents
from argosy.api.llmservice import LABEL, LLMService, LLMServiceSpec
from argosy.api.objects import Key, ObjectMeta, Value
from argosy.api.rules import MODEL, clashes, service_faults
from argosy.api.shape import Fault, Path, dotted, faults

MAX_FILE_BYTES: Final = 1024 * 1024
_SERVERS_OWN: Final = (
    "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields", "finalizers",
    "ownerReferences", "selfLink", "deletionGracePeriodSeconds",
)  # fmt: skip


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a file. `line` counts from 1; 0 stands for the whole file."""

    file: str
    line: int = 0
    field: str = ""
    reason: str
    fix: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.field + ' ' if self.field else ''}{self.reason}; {self.fix}"


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What files say. `services` is complete only when there are no problems.

    `source_places` says, for each service, where the sources of its model and its adapters stand, in this order, as
    FILE:LINE and the field; `written` is each
    service as its file has it, its defaults too, for a server that keeps who wants what.
    """

    services: tuple[LLMService, ...]
    problems: tuple[Problem, ...]
    source_places: dict[Key, dict[str, str]]
    written: dict[Key, dict[str, Any]]


class _Metadata(Value, frozen=True, kw_only=True):
    name: Annotated[str, LABEL]
    namespace: Annotated[str, LABEL] = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _File(Value, frozen=True, kw_only=True):
    api_version: str
    kind: str
    metadata: _Metadata
    spec: LLMServiceSpec


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    document: Document
    service: LLMService
    written: dict[str, Any]
    hidden: frozenset[Path]


_FILE: Final = inspect.type_info(_File)


def read_services(files: Iterable[tuple[str, bytes]], *, namespace: str = "default") -> Reading:
    """Read (name, content) pairs, in order; services that name no namespace are of `namespace`."""
    problems: list[Problem] = []
    read: list[_Read] = []
    for name, content in files:
        for item in _file_items(name, content, namespace):
            if isinstance(item, Problem):
                problems.append(item)
            else:
                read.append(item)
    for one in read:
        problems.extend(_located(one, fault) for fault in service_faults(one.service) if not _hidden(fault, one))
    for index, fault in clashes(one.service for one in read):
        if not _hidden(fault, read[index]):
            problems.append(_located(read[index], fault))
    order = {problem.file: index for index, problem in reversed(list(enumerate(problems)))}
    problems.sort(key=lambda p: (order[p.file], p.line))
    return Reading(
        services=tuple(one.service for one in read),
        problems=tuple(problems),
        source_places={one.service.key: _places(one) for one in read},
        written={one.service.key: one.written for one in read},
    )


def _places(one: _Read) -> dict[str, str]:
    model = one.service.spec.model
    paths: dict[str, Path] = {model.source: (*MODEL, "source")}
    for index, adapter in enumerate(model.adapters):
        paths.setdefault(adapter.source, (*MODEL, "adapters", index, "source"))
    return {source: f"{one.file}:{one.document.line(path)}: {dotted(path)}" for source, path in paths.items()}


def _file_items(file: str, content: bytes, namespace: str) -> Iterator[Problem | _Read]:
    if len(content) > MAX_FILE_BYTES:
        yield Problem(file=file, reason=f"is larger than {MAX_FILE_BYTES >> 20} MiB", fix="is it the file you meant?")
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        yield Problem(
            file=file, line=line, reason="is not UTF-8 text", fix="save it as UTF-8; is it the file you meant?"
        )
        return
    found, mistake = documents(text)
    for document in found:
        yield from _document_items(file, document, namespace)
    if mistake is not None:
        yield _problem(file, mistake)
    elif not found:
        reason = "has no LLMService in it" if text.strip() else "is empty"
        yield Problem(file=file, reason=reason, fix="examples/smollm2.yaml shows an LLMService")


def _document_items(file: str, document: Document, namespace: str) -> Iterator[Problem | _Read]:
    for mistake in document.mistakes:
        yield _problem(file, mistake)
    foreign = _foreign(document.value)
    if foreign is not None:
        yield _problem(file, Mistake(line=document.line(foreign.path), **_words(foreign)))
        return
    value = {name: item for name, item in document.value.items() if name != "status"}
    if isinstance(value.get("metadata"), dict):
        value["metadata"] = {k: v for k, v in value["metadata"].items() if k not in _SERVERS_OWN}
    found = list(faults(_FILE, value))
    for fault in found:
        yield _problem(file, Mistake(line=document.line(fault.path), **_words(fault)))
    try:
        whole = msgspec.convert(_without(value, [fault.path for fault in found]), _File)
    except msgspec.ValidationError:
        return
    hidden = frozenset(path for fault in found for path in (fault.path, *fault.reads))
    fields = {name: getattr(whole.metadata, name) for name in whole.metadata.__struct_fields__}
    metadata = ObjectMeta(**{**fields, "namespace": whole.metadata.namespace or namespace})
    service = LLMService(metadata=metadata, spec=whole.spec)
    written = value | {"metadata": {**value["metadata"], "namespace": metadata.namespace}}
    yield _Read(file=file, document=document, hidden=hidden, service=service, written=written)


def _foreign(value: Any) -> Fault | None:
    if not isinstance(value, dict):
        return Fault(path=(), reason="is no mapping", fix="an LLMService begins with apiVersion, kind, metadata, spec")
    kind, version = value.get("kind"), value.get("apiVersion")
    if kind is not None and kind != LLMService.KIND:
        return Fault(
            path=("kind",), reason=f"is {kind}; only {LLMService.KIND} is read here", fix="apply others with kubectl"
        )
    if version is not None and version != LLMService.API_VERSION:
        return Fault(path=("apiVersion",), reason=f"is {version}", fix=f"write {LLMService.API_VERSION}")
    return None


def _without(value: Any, paths: list[Path], at: Path = ()) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, paths, (*at, k)) for k, v in value.items() if (*at, k) not in paths}
    if isinstance(value, list):
        return [_without(v, paths, (*at, i)) for i, v in enumerate(value) if (*at, i) not in paths]
    return value


def _hidden(fault: Fault, read: _Read) -> bool:
    return any(path[: len(other)] == other[: len(path)] for path in (fault.path, *fault.reads) for other in read.hidden)


def _located(read: _Read, fault: Fault) -> Problem:
    return _problem(read.file, Mistake(line=read.document.line(fault.path), **_words(fault)))


def _words(fault: Fault) -> dict[str, Any]:
    return {"path": fault.path, "reason": fault.reason, "fix": fault.fix}


def _problem(file: str, mistake: Mistake) -> Problem:
    return Problem(file=file, line=mistake.line, field=dotted(mistake.path), reason=mistake.reason, fix=mistake.fix)
