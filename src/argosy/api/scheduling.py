"""The file that says how pickers schedule: a profile by its name, or one of one's own.

apiVersion: argosy.dev/v1alpha1
kind: SchedulingConfig
profile:
  name: mine
  filters: [{type: sticky, parameters: {threshold: 0.7}}]
  scorers: [{type: queue, weight: 2}, {type: prefix, weight: 3}]
  picker: {type: least}
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
from msgspec import inspect

from argosy.api.documents import Mistake, documents
from argosy.api.llmservice import LLMService
from argosy.api.objects import Value
from argosy.api.shape import dotted, faults

DEFAULT: Final = "default"


class PluginSpec(Value, frozen=True, kw_only=True):
    """A plugin by the name of its entry point; `weight` counts for scorers only."""

    type: str
    weight: float = 1.0
    parameters: dict[str, Any] = {}


class ProfileSpec(Value, frozen=True, kw_only=True):
    """Filters in their order, scorers whose weighted costs add up, and a picker."""

    name: str
    filters: tuple[PluginSpec, ...] = ()
    scorers: tuple[PluginSpec, ...] = ()
    picker: PluginSpec = PluginSpec(type="least")


class Plugins(msgspec.Struct, frozen=True, kw_only=True):
    """The plugins that are installed, by name."""

    filters: Mapping[str, type[Any]]
    scorers: Mapping[str, type[Any]]
    pickers: Mapping[str, type[Any]]


class SchedulingConfig(Value, frozen=True, kw_only=True):
    """How pickers schedule."""

    API_VERSION: ClassVar[str] = LLMService.API_VERSION
    KIND: ClassVar[str] = "SchedulingConfig"

    api_version: str = API_VERSION
    kind: str = KIND
    profile: str | ProfileSpec = DEFAULT


_CONFIG: Final = inspect.type_info(SchedulingConfig)


def read_scheduling(text: str) -> SchedulingConfig:
    """Read a file. Raises ValueError that names line, field, reason and fix."""
    found, mistake = documents(text)
    for each in (mistake, *(each for document in found for each in document.mistakes)):
        if each is not None:
            raise ValueError(_sentence(each))
    if len(found) != 1 or not isinstance(found[0].value, dict):
        raise ValueError(f"holds {len(found)} documents and not one {SchedulingConfig.KIND}; write one")
    document = found[0]
    said = (document.value.get("kind"), document.value.get("apiVersion"))
    if said != (SchedulingConfig.KIND, SchedulingConfig.API_VERSION):
        wanted = f"kind: {SchedulingConfig.KIND} and apiVersion: {SchedulingConfig.API_VERSION}"
        raise ValueError(f"is of kind {said[0]}, apiVersion {said[1]}; write {wanted}")
    for fault in faults(_CONFIG, document.value):
        where = Mistake(line=document.line(fault.path), path=fault.path, reason=fault.reason, fix=fault.fix)
        raise ValueError(_sentence(where))
    return msgspec.convert(document.value, SchedulingConfig, strict=False)


def _sentence(mistake: Mistake) -> str:
    field = f"{dotted(mistake.path)} " if mistake.path else ""
    return f"line {mistake.line}: {field}{mistake.reason}; {mistake.fix}"
