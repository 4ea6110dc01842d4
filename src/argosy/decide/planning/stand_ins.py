"""LLMService and capabilities → the service as it is served, and a stand-in for every field that is not honoured.

Rules of this file:

- A valid file is never refused: what cannot be done becomes something that can.
- Nothing is ignored in silence: a field that has another value than its default either shows in the objects or has a
  stand-in at its path or above it.
- The name that clients use stays what the file says.
"""

from collections.abc import Callable, Mapping
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
    Workers,
)
from argosy.api.quantity import quantity
from argosy.decide.planning.capabilities import DEVICE, EMBEDDED, ENGINE, SCHEMES, Capabilities, Weights
from argosy.engines import llama_cpp

_Step = Callable[[LLMServiceSpec, Capabilities, Weights | None], tuple[LLMServiceSpec, list[StandIn]]]


class Served(NamedTuple):
    """A service as it is served: `spec.workers.serve` is always there, and every other field is honoured."""

    service: LLMService
    weights: Weights | None
    stand_ins: tuple[StandIn, ...]

    @property
    def role(self) -> Role:
        """The workers of the standard profile."""
        return self.service.spec.workers.serve or Role()

    @property
    def replicas(self) -> int:
        """How many workers are wanted."""
        replicas = self.role.replicas
        return replicas.min if isinstance(replicas, ReplicaRange) else replicas


def served(service: LLMService, capabilities: Capabilities, weights: Mapping[str, Weights]) -> Served:
    """Give the service as it is served. `weights` are known by source; the embedded ones need not be there."""
    spec, found = _engine(service.spec)
    spec, more = _source(spec)
    found += more
    known = weights.get(spec.model.source)
    if known is None and spec.model.source == llama_cpp.EMBEDDED_WEIGHTS:
        known = EMBEDDED
    steps: tuple[_Step, ...] = (_quantization, _context, _profile, _replicas, _hardware, _parallelism, _later)
    for step in steps:
        spec, more = step(spec, capabilities, known)
        found += more
    return Served(replace(service, spec=spec), known, tuple(found))


def words(value: Any) -> str:
    """Give a value as people write it in YAML, on one line."""
    return _flow(msgspec.to_builtins(value))


def _flow(plain: Any) -> str:
    if isinstance(plain, dict):
        return "{" + ", ".join(f"{name}: {_flow(item)}" for name, item in plain.items()) + "}"
    if isinstance(plain, list):
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


def _quantization(
    spec: LLMServiceSpec, _: Capabilities, weights: Weights | None
) -> tuple[LLMServiceSpec, list[StandIn]]:
    asked, held = spec.model.quantization, weights.quantization if weights else None
    changed = replace(spec, model=replace(spec.model, quantization="auto"))
    if asked in ("auto", held):
        return changed, []
    why = "this version serves weights as their file stores them"
    return changed, _stand_in("model.quantization", asked, held or "as in the file", why)


def _context(spec: LLMServiceSpec, _: Capabilities, weights: Weights | None) -> tuple[LLMServiceSpec, list[StandIn]]:
    most = weights.context_tokens if weights else None
    asked = spec.engine.context_tokens
    tokens = llama_cpp.DEFAULT_CONTEXT_TOKENS if asked is None else asked
    if most is None or tokens <= most:
        return spec, []
    found = (
        []
        if asked is None
        else _stand_in("engine.contextTokens", asked, str(most), "the weights know no longer context")
    )
    return replace(spec, engine=replace(spec.engine, context_tokens=most)), found


def _profile(spec: LLMServiceSpec, _: Capabilities, __: Weights | None) -> tuple[LLMServiceSpec, list[StandIn]]:
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
    serve = workers.serve or workers.decode or Role()
    if workers.decode is not None:
        given = "none" if workers.serve is not None else "workers that also compute prompts"
        found += _stand_in("workers.decode", workers.decode, given, why)
    return replace(spec, serving=Serving(), workers=Workers(serve=serve)), found


def _replicas(spec: LLMServiceSpec, _: Capabilities, __: Weights | None) -> tuple[LLMServiceSpec, list[StandIn]]:
    role = spec.workers.serve or Role()
    asked = role.replicas
    if not isinstance(asked, ReplicaRange):
        return spec, []
    given = max(1, asked.min)
    found = (
        []
        if asked.min == asked.max
        else _stand_in("workers.serve.replicas", asked, str(given), "this version does not scale by itself")
    )
    return _with_role(spec, replace(role, replicas=given)), found


def _hardware(
    spec: LLMServiceSpec, capabilities: Capabilities, _: Weights | None
) -> tuple[LLMServiceSpec, list[StandIn]]:
    role = spec.workers.serve or Role()
    hardware, path = role.hardware, "workers.serve.hardware"
    device, cpu, memory = hardware.device, hardware.cpu, hardware.memory
    found: list[StandIn] = []
    if device not in (None, DEVICE):
        found += _stand_in(
            f"{path}.device",
            device,
            "this machine's CPU" if capabilities.cpus else DEVICE,
            "this version computes on CPUs",
        )
    if cpu is not None and capabilities.cpus is not None and quantity(cpu) > capabilities.cpus:
        found += _stand_in(f"{path}.cpu", cpu, str(capabilities.cpus), "this machine has no more")
        cpu = capabilities.cpus
    if memory is not None and not capabilities.limits_memory:
        found += _stand_in(f"{path}.memory", memory, "no limit", "processes on this machine share its memory")
        memory = None
    return _with_role(spec, replace(role, hardware=Hardware(cpu=cpu, memory=memory))), found


def _parallelism(spec: LLMServiceSpec, _: Capabilities, __: Weights | None) -> tuple[LLMServiceSpec, list[StandIn]]:
    role = spec.workers.serve or Role()
    if role.parallelism == Parallelism():
        return spec, []
    why = "this version runs a replica on one device"
    found = _stand_in("workers.serve.parallelism", role.parallelism, "1 device", why)
    return _with_role(spec, replace(role, parallelism=Parallelism())), found


_LATER: Final = (
    ("objectives", Objectives(), "the least loaded replica", "this version does not steer by latency"),
    ("priority", "standard", "standard", "this version takes requests as they come"),
    ("queue", None, "a start at once", "this version does not ask Kueue for quota"),
    ("rollout", Rollout(), "rolling, by readiness", "this version replaces replicas one by one"),
    ("failover", (), "none", "this version answers 503 when no replica is ready"),
)
"""Fields of the spec that this version does nothing with: name, default, what is given, why."""


def _later(spec: LLMServiceSpec, _: Capabilities, __: Weights | None) -> tuple[LLMServiceSpec, list[StandIn]]:
    found: list[StandIn] = []
    if spec.model.adapters:
        why = "this version serves no adapters"
        found += _stand_in("model.adapters", spec.model.adapters, "the model alone", why)
    for name, default, given, why in _LATER:
        asked = getattr(spec, name)
        if asked != default:
            found += _stand_in(name, asked, given, why)
    plain = {name: default for name, default, _, _ in _LATER}
    return replace(spec, model=replace(spec.model, adapters=()), **plain), found


def _with_role(spec: LLMServiceSpec, role: Role) -> LLMServiceSpec:
    return replace(spec, workers=Workers(serve=role))
