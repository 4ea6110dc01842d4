"""LLMService and capabilities → the service as it is served, and a stand-in for every field that is not honoured.

Rules of this file:

- A valid file is never refused: what cannot be done becomes something that can.
- Nothing is ignored in silence: a field that has another value than its default either shows in the objects or has a
  stand-in at its path or above it.
- The name that clients use stays what the file says.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from argosy.api.llmservice import (
    Hardware,
    LLMService,
    LLMServiceSpec,
    Objectives,
    Parallelism,
    ReplicaRange,
    Role,
    Rollout,
    Serving,
    StandIn,
)
from argosy.api.quantity import quantity
from argosy.decide.planning.capabilities import DEVICE, EMBEDDED, ENGINE, SCHEMES, Capabilities, Weights
from argosy.engines import llama_cpp


class Served(NamedTuple):
    """A service as it is served: model and engine in `service`, and what each of its workers gets."""

    service: LLMService
    weights: Weights | None
    replicas: int
    hardware: Hardware
    stand_ins: tuple[StandIn, ...]
    image_registry: str = ""


def served(service: LLMService, capabilities: Capabilities, weights: Mapping[str, Weights]) -> Served:
    """Give the service as it is served. `weights` are known by source; the embedded ones need not be there."""
    spec, found = _engine(service.spec)
    spec, more = _source(spec)
    found += more
    known = weights.get(spec.model.source)
    if known is None and spec.model.source == llama_cpp.EMBEDDED_WEIGHTS:
        known = EMBEDDED
    spec, more = _context(spec, known)
    found += _quantization(spec, known) + more
    replicas, hardware, more = _workers(spec, capabilities)
    found += more + _later(spec)
    return Served(replace(service, spec=spec), known, replicas, hardware, tuple(found), capabilities.image_registry)


def words(value: Any) -> str:
    """Give a value as people write it in YAML, on one line."""
    return _flow(msgspec.to_builtins(value))


def _flow(plain: Any) -> str:
    if isinstance(plain, dict):
        return "{" + ", ".join(f"{name}: {_flow(item)}" for name, item in plain.items()) + "}"
    if isinstance(plain, list | tuple):
        return "[" + ", ".join(_flow(item) for item in plain) + "]"
    return str(plain)


def _stand_in(field: str, asked: Any, given: str, why: str) -> list[StandIn]:
    return [StandIn(field=f"spec.{field}", asked=words(asked), given=given, why=why)]


def _engine(spec: LLMServiceSpec) -> tuple[LLMServiceSpec, list[StandIn]]:
    name = spec.engine.name
    if name == ENGINE:
        return spec, []
    why = f"this version runs {ENGINE} only"
    return replace(spec, engine=replace(spec.engine, name=ENGINE)), _stand_in("engine.name", name, ENGINE, why)


def _source(spec: LLMServiceSpec) -> tuple[LLMServiceSpec, list[StandIn]]:
    source, given = spec.model.source, llama_cpp.EMBEDDED_WEIGHTS
    scheme = source.partition("://")[0]
    if scheme in SCHEMES:
        return spec, []
    readable = " and ".join(f"{scheme}://" for scheme in sorted(SCHEMES))
    why = f"this version reads {readable} only; {llama_cpp.EMBEDDED_MODEL} answers instead"
    return replace(spec, model=replace(spec.model, source=given)), _stand_in("model.source", source, given, why)


def _quantization(spec: LLMServiceSpec, weights: Weights | None) -> list[StandIn]:
    asked, held = spec.model.quantization, weights.quantization if weights else None
    if asked in ("auto", held):
        return []
    why = "this version serves weights as their file stores them"
    return _stand_in("model.quantization", asked, held or "as in the file", why)


def _context(spec: LLMServiceSpec, weights: Weights | None) -> tuple[LLMServiceSpec, list[StandIn]]:
    most = weights.context_tokens if weights else None
    asked = spec.engine.context_tokens
    tokens = llama_cpp.DEFAULT_CONTEXT_TOKENS if asked is None else asked
    if most is None or tokens <= most:
        return spec, []
    found: list[StandIn] = []
    if asked is not None:
        found = _stand_in("engine.contextTokens", asked, str(most), "the weights know no longer context")
    return replace(spec, engine=replace(spec.engine, context_tokens=most)), found


def _workers(spec: LLMServiceSpec, capabilities: Capabilities) -> tuple[int, Hardware, list[StandIn]]:
    """Serve with the role `serve`, or with the decode workers where the file has none, or with one replica."""
    found: list[StandIn] = []
    serving, workers = spec.serving, spec.workers
    why = "serving.profile is standard"
    if serving.profile == "disaggregated":
        why = "this version serves prefill and decode together"
        found += _stand_in("serving.profile", serving.profile, "standard", why)
    if serving.disaggregation != Serving().disaggregation:
        found += _stand_in("serving.disaggregation", serving.disaggregation, "unused", why)
    if workers.prefill is not None:
        found += _stand_in("workers.prefill", workers.prefill, "none", why)
    if workers.serve is not None or workers.decode is None:
        name, role = "serve", workers.serve or Role()
        if workers.decode is not None:
            found += _stand_in("workers.decode", workers.decode, "none", why)
    else:
        name, role = "decode", workers.decode
        found += _stand_in("workers.decode", "decode only", "whole requests", why)
    path = f"workers.{name}"
    replicas, more = _replicas(role.replicas, f"{path}.replicas", capabilities.replicas)
    found += more
    hardware, more = _hardware(role.hardware, f"{path}.hardware", capabilities)
    found += more
    if role.parallelism != Parallelism():
        why = "this version runs a replica on one device"
        found += _stand_in(f"{path}.parallelism", role.parallelism, "one device", why)
    return replicas, hardware, found


def _replicas(asked: int | ReplicaRange, path: str, most: int | None) -> tuple[int, list[StandIn]]:
    wanted = asked if isinstance(asked, int) else max(1, asked.min)
    if most is not None and wanted > most:
        return most, _stand_in(path, asked, str(most), "this machine's memory has room for no more")
    if isinstance(asked, int) or asked.min == asked.max:
        return wanted, []
    return wanted, _stand_in(path, asked, str(wanted), "this version does not scale by itself")


def _hardware(asked: Hardware, path: str, capabilities: Capabilities) -> tuple[Hardware, list[StandIn]]:
    """Give what a pod asks for, which is the same everywhere, and what the place cannot give of it."""
    cpu, memory = asked.cpu, asked.memory
    found: list[StandIn] = []
    if asked.device not in (None, DEVICE):
        given = "this machine's CPU" if capabilities.cpus else DEVICE
        found += _stand_in(f"{path}.device", asked.device, given, "this version computes on CPUs")
    if cpu is not None and capabilities.cpus is not None and quantity(cpu) > capabilities.cpus:
        found += _stand_in(f"{path}.cpu", cpu, str(capabilities.cpus), "this machine has no more")
    if memory is not None and not capabilities.limits_memory:
        found += _stand_in(f"{path}.memory", memory, "no limit", "processes of this machine share its memory")
    return Hardware(cpu=cpu, memory=memory), found


_LATER: Final = (
    ("objectives", Objectives(), "the least loaded replica", "this version does not steer by latency"),
    ("priority", "standard", "standard", "this version takes requests as they come"),
    ("queue", None, "a start at once", "this version does not ask Kueue for quota"),
    ("rollout", Rollout(), "rolling, by readiness", "this version replaces replicas one by one"),
    ("failover", (), "none", "this version answers 503 when no replica is ready"),
)
"""Fields of the spec that this version does nothing with: name, default, what is given, why."""


def _later(spec: LLMServiceSpec) -> list[StandIn]:
    found: list[StandIn] = []
    if spec.model.adapters:
        why = "this version serves no adapters"
        found += _stand_in("model.adapters", spec.model.adapters, "the model alone", why)
    for name, default, given, why in _LATER:
        asked = getattr(spec, name)
        if asked != default:
            found += _stand_in(name, asked, given, why)
    return found
