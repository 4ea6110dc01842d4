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

from argosy.api.disaggregation import DEFAULT_THRESHOLD_TOKENS, Disaggregation
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
from argosy.api.workers import ALL_WORKERS, WorkersName, workers_of
from argosy.decide.planning.capabilities import DEVICE, EMBEDDED, ENGINE, SCHEMES, Capabilities, Weights
from argosy.engines import llama_cpp


class ServedRole(NamedTuple):
    """Workers that do the same, as they are served."""

    name: WorkersName
    replicas: int
    hardware: Hardware


class Served(NamedTuple):
    """A service as it is served: model and engine in `service`, its workers by role, and how they share requests."""

    service: LLMService
    weights: Weights | None
    roles: tuple[ServedRole, ...]
    policy: Disaggregation | None
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
    policy, more = _policy(spec.serving)
    found += more
    service = replace(service, spec=spec)
    roles, more = _roles(service, capabilities)
    found += more + _later(spec)
    return Served(service, known, roles, policy, tuple(found), capabilities.image_registry)


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


def _policy(serving: Serving) -> tuple[Disaggregation | None, list[StandIn]]:
    """Give what decides between prefill workers and plain serving, where there are both."""
    asked = serving.disaggregation
    if serving.profile == "standard":
        if asked == Serving().disaggregation:
            return None, []
        return None, _stand_in("serving.disaggregation", asked, "unused", "serving.profile is standard")
    tokens, found = asked.threshold_tokens, list[StandIn]()
    if tokens == "auto":
        tokens = DEFAULT_THRESHOLD_TOKENS
        why = "this version does not learn it from measurements yet"
        found = _stand_in("serving.disaggregation.thresholdTokens", "auto", str(tokens), why)
    policy = Disaggregation(
        threshold_tokens=tokens,
        protocol=llama_cpp.KV_PROTOCOL,
        on_prefill_failure=asked.on_prefill_failure,
        prefill_timeout_seconds=asked.prefill_timeout_seconds,
    )
    return policy, found


def _roles(service: LLMService, capabilities: Capabilities) -> tuple[tuple[ServedRole, ...], list[StandIn]]:
    """Give the workers of the profile; those of the other one, which may stay in the file, get a stand-in."""
    wanted, workers, profile = workers_of(service), service.spec.workers, service.spec.serving.profile
    alone = profile == "standard" and workers.serve is None and workers.decode is not None
    found: list[StandIn] = []
    for other in ALL_WORKERS:
        asked: Role | None = getattr(workers, other)
        if asked is not None and other not in wanted:
            decodes = alone and other == "decode"
            asked_words, given = ("decode only", "whole requests") if decodes else (asked, "none")
            found += _stand_in(f"workers.{other}", asked_words, given, f"serving.profile is {profile}")
    replicas, more = _replicas({"decode" if alone else name: wanted[name] for name in wanted}, capabilities.replicas)
    found += more
    roles: list[ServedRole] = []
    for name, role in wanted.items():
        written: WorkersName = "decode" if alone else name
        path = f"workers.{written}"
        hardware, more = _hardware(role.hardware, f"{path}.hardware", capabilities)
        found += more
        if role.parallelism != Parallelism():
            why = "this version runs a replica on one device"
            found += _stand_in(f"{path}.parallelism", role.parallelism, "one device", why)
        roles.append(ServedRole(name, replicas[written], hardware))
    return tuple(roles), found


def _replicas(roles: Mapping[WorkersName, Role], most: int | None) -> tuple[dict[WorkersName, int], list[StandIn]]:
    """Give how many workers each role has: one of each that wants any comes before a second one of any."""
    wanted = {name: _fixed(role.replicas) for name, role in roles.items()}
    left = None if most is None else max(0, most - sum(count > 0 for count in wanted.values()))
    given: dict[WorkersName, int] = {}
    found: list[StandIn] = []
    for name, role in roles.items():
        asked, path = role.replicas, f"workers.{name}.replicas"
        given[name] = wanted[name]
        if left is not None and wanted[name] > 0:
            given[name] = 1 + min(wanted[name] - 1, left)
            left -= given[name] - 1
        if given[name] < wanted[name]:
            why = "this machine's memory has room for no more"
            found += _stand_in(path, asked, str(given[name]), why)
        elif not isinstance(asked, int) and asked.min != asked.max:
            found += _stand_in(path, asked, str(wanted[name]), "this version does not scale by itself")
    return given, found


def _fixed(asked: int | ReplicaRange) -> int:
    return asked if isinstance(asked, int) else max(1, asked.min)


def _hardware(asked: Hardware, path: str, capabilities: Capabilities) -> tuple[Hardware, list[StandIn]]:
    """Give what a pod asks for, which is the same everywhere, and what the place cannot give of it."""
    cpu, memory = asked.cpu, asked.memory
    found: list[StandIn] = []
    if asked.device not in (None, DEVICE):
        given = "this machine's CPU" if capabilities.cpus else DEVICE
        found += _stand_in(f"{path}.device", asked.device, given, "this version computes on CPUs")
    if asked.node_selector and capabilities.cpus is not None:
        found += _stand_in(f"{path}.nodeSelector", asked.node_selector, "this machine", "there is no other node")
    if cpu is not None and capabilities.cpus is not None and quantity(cpu) > capabilities.cpus:
        found += _stand_in(f"{path}.cpu", cpu, str(capabilities.cpus), "this machine has no more")
    if memory is not None and not capabilities.limits_memory:
        found += _stand_in(f"{path}.memory", memory, "no limit", "processes of this machine share its memory")
    return Hardware(cpu=cpu, memory=memory, node_selector=asked.node_selector), found


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
