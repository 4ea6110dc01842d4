"""LLMService and capabilities → the service as it is served, and a stand-in for every field that is not honoured.

Rules of this file:

- A valid file is never refused: what cannot be done becomes something that can.
- Nothing is ignored in silence: a field that has another value than its default either shows in the objects or has a
  stand-in at its path or above it.
- The name that clients use stays what the file says.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

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
from argosy.api.workers import ALL_WORKERS, WorkersName, standard_role, workers_of
from argosy.decide.planning.capabilities import CPU, EMBEDDED, Capabilities, Weights
from argosy.decide.planning.engine_choice import chosen
from argosy.decide.planning.stand_in import stand_in
from argosy.engines import llama_cpp, vllm

REPLICAS_OF_VLLM: Final = 6
"""Replicas of llama.cpp that take as much of one machine's memory as one of vLLM."""
_PROTOCOLS: Final = {llama_cpp.NAME: llama_cpp.KV_PROTOCOL, vllm.NAME: vllm.KV_PROTOCOL}


class ServedRole(NamedTuple):
    """Workers that do the same, as they are served."""

    name: WorkersName
    replicas: int
    hardware: Hardware
    parallelism: Parallelism = Parallelism()

    @property
    def on_cpu(self) -> bool:
        """Whether its workers compute without an accelerator."""
        return self.hardware.device == CPU


class Served(NamedTuple):
    """A service as it is served: model and engine in `service`, its workers by role, and how they share requests."""

    service: LLMService
    weights: Weights | None
    roles: tuple[ServedRole, ...]
    policy: Disaggregation | None
    stand_ins: tuple[StandIn, ...]
    adapters_bytes: int = 0
    """Of those whose size is known."""
    image_registry: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What its engines answer to: the model's name, and its adapters'."""
        return (self.service.model_name, *(each.name for each in self.service.spec.model.adapters))

    @property
    def sources(self) -> tuple[str, ...]:
        """What its engines read: the model's weights, and the adapters'."""
        return (self.service.spec.model.source, *(each.source for each in self.service.spec.model.adapters))


def served(service: LLMService, capabilities: Capabilities, weights: Mapping[str, Weights]) -> Served:
    """Give the service as it is served. `weights` are known by source; the embedded ones need not be there."""
    spec, found = chosen(service.spec, capabilities)
    known = weights.get(spec.model.source)
    if known is None and spec.model.source == llama_cpp.EMBEDDED_WEIGHTS:
        known = EMBEDDED
    spec, more = _context(spec, known)
    found += more
    policy, more = _policy(spec)
    found += more
    service = replace(service, spec=spec)
    roles, more = _roles(service, capabilities)
    found += _quantization(spec, known, roles) + more + _unused(spec, roles) + _later(spec)
    sizes = (weights[each.source].size_bytes for each in spec.model.adapters if each.source in weights)
    return Served(service, known, roles, policy, tuple(found), sum(sizes), capabilities.image_registry)


def _quantization(spec: LLMServiceSpec, weights: Weights | None, roles: Iterable[ServedRole]) -> list[StandIn]:
    asked, held = spec.model.quantization, weights.quantization if weights else None
    if asked in ("auto", held):
        return []
    why = "this version serves weights as their file stores them"
    if spec.engine.name == vllm.NAME:
        on_cpu = any(role.on_cpu for role in roles)
        if asked in vllm.DTYPES or (asked in vllm.QUANTIZATIONS and not on_cpu):
            return []
        why = f"{vllm.NAME} is not told of it{' on CPUs' if asked in vllm.QUANTIZATIONS else ''}"
    return stand_in("model.quantization", asked, held or "as in the file", why)


def _unused(spec: LLMServiceSpec, roles: Iterable[ServedRole]) -> list[StandIn]:
    percent = spec.engine.vllm.gpu_memory_percent
    if spec.engine.name != vllm.NAME or percent is None or not all(role.on_cpu for role in roles):
        return []
    return stand_in("engine.vllm.gpuMemoryPercent", percent, "unused", "its workers compute on CPUs")


def _context(spec: LLMServiceSpec, weights: Weights | None) -> tuple[LLMServiceSpec, list[StandIn]]:
    most = weights.context_tokens if weights else None
    asked = spec.engine.context_tokens
    tokens = llama_cpp.DEFAULT_CONTEXT_TOKENS if asked is None else asked
    if most is None or tokens <= most:
        return spec, []
    found: list[StandIn] = []
    if asked is not None:
        found = stand_in("engine.contextTokens", asked, str(most), "the weights know no longer context")
    return replace(spec, engine=replace(spec.engine, context_tokens=most)), found


def _policy(spec: LLMServiceSpec) -> tuple[Disaggregation | None, list[StandIn]]:
    """Give what decides between prefill workers and plain serving, where there are both."""
    asked = spec.serving.disaggregation
    if spec.serving.profile == "standard":
        if asked == Serving().disaggregation:
            return None, []
        return None, stand_in("serving.disaggregation", asked, "unused", "serving.profile is standard")
    tokens, found = asked.threshold_tokens, list[StandIn]()
    if tokens == "auto":
        tokens = DEFAULT_THRESHOLD_TOKENS
        why = "this version does not learn it from measurements yet"
        found = stand_in("serving.disaggregation.thresholdTokens", "auto", str(tokens), why)
    policy = Disaggregation(
        threshold_tokens=tokens,
        protocol=_PROTOCOLS[spec.engine.name],
        on_prefill_failure=asked.on_prefill_failure,
        prefill_timeout_seconds=asked.prefill_timeout_seconds,
    )
    return policy, found


def _roles(service: LLMService, capabilities: Capabilities) -> tuple[tuple[ServedRole, ...], list[StandIn]]:
    """Give the workers of the profile; those of the other one, which may stay in the file, get a stand-in."""
    wanted, workers, profile = workers_of(service), service.spec.workers, service.spec.serving.profile
    like = standard_role(workers) if profile == "standard" else None
    found: list[StandIn] = []
    for other in ALL_WORKERS:
        asked: Role | None = getattr(workers, other)
        if asked is not None and other not in wanted:
            said, given = (f"{other} only", "whole requests") if other == like else (asked, "none")
            found += stand_in(f"workers.{other}", said, given, f"serving.profile is {profile}")
    written = {name: like or name for name in wanted}
    most, engine = capabilities.replicas, service.spec.engine.name
    if most is not None and engine == vllm.NAME:
        most //= REPLICAS_OF_VLLM
    replicas, more = _replicas({written[name]: wanted[name] for name in wanted}, most)
    found += more
    roles: list[ServedRole] = []
    for name, role in wanted.items():
        path = f"workers.{written[name]}"
        hardware, more = _hardware(role.hardware, f"{path}.hardware", engine, capabilities)
        found += more
        parallelism, more = _parallelism(role.parallelism, f"{path}.parallelism", engine, hardware)
        found += more
        roles.append(ServedRole(name, replicas[written[name]], hardware, parallelism))
    return tuple(roles), found


def _parallelism(asked: Parallelism, path: str, engine: str, hardware: Hardware) -> tuple[Parallelism, list[StandIn]]:
    if asked == Parallelism():
        return asked, []
    if engine == vllm.NAME and hardware.device != CPU:
        return asked, []
    why = "this version spreads a replica over GPUs only"
    return Parallelism(), stand_in(path, asked, "one device", why)


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
            found += stand_in(path, asked, str(given[name]), why)
        elif not isinstance(asked, int) and asked.min != asked.max:
            found += stand_in(path, asked, str(wanted[name]), "this version does not scale by itself")
    return given, found


def _fixed(asked: int | ReplicaRange) -> int:
    return asked if isinstance(asked, int) else max(1, asked.min)


def _hardware(asked: Hardware, path: str, engine: str, capabilities: Capabilities) -> tuple[Hardware, list[StandIn]]:
    """Give what a pod asks for, which is the same everywhere, and what the place cannot give of it."""
    cpu, memory = asked.cpu, asked.memory
    device, found = _device(asked, path, engine, capabilities)
    if asked.node_selector and capabilities.cpus is not None:
        found += stand_in(f"{path}.nodeSelector", asked.node_selector, "this machine", "there is no other node")
    if cpu is not None and capabilities.cpus is not None and quantity(cpu) > capabilities.cpus:
        found += stand_in(f"{path}.cpu", cpu, str(capabilities.cpus), "this machine has no more")
    if memory is not None and not capabilities.limits_memory:
        found += stand_in(f"{path}.memory", memory, "no limit", "processes of this machine share its memory")
    return Hardware(device=device, cpu=cpu, memory=memory, node_selector=asked.node_selector), found


def _device(asked: Hardware, path: str, engine: str, capabilities: Capabilities) -> tuple[str | None, list[StandIn]]:
    """Give the device that an engine computes on; None is any accelerator that it can use."""
    on_cpus = engine == llama_cpp.NAME or capabilities.cpus is not None
    if asked.device is None or asked.device == CPU:
        return CPU if on_cpus else asked.device, []
    if on_cpus:
        given = "this machine's CPU" if capabilities.cpus else CPU
        return CPU, stand_in(f"{path}.device", asked.device, given, "this version computes on CPUs there")
    if asked.node_selector:
        return None, []
    why = "nodes do not say it in one way; hardware.nodeSelector chooses them by their labels"
    return None, stand_in(f"{path}.device", asked.device, "any NVIDIA GPU", why)


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
    for name, default, given, why in _LATER:
        asked = getattr(spec, name)
        if asked != default:
            found += stand_in(name, asked, given, why)
    return found
