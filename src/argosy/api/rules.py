"""What must hold between the fields of an LLMService, and between services: every fault, not only the first.

Only what is wrong everywhere is a fault. What a machine or a version cannot do gets a stand-in from planning.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from argosy.api.llmservice import LLMService, ReplicaRange, Role
from argosy.api.names import SYSTEM_NAMESPACE
from argosy.api.quantity import quantity
from argosy.api.shape import Fault, Path
from argosy.api.vllm_options import BLOCK_STEP, VLLMOptions
from argosy.api.workers import DISAGGREGATED, WorkersName, workers_of, workload_name

_PLAIN: Final = frozenset({"auto", "f32", "f16", "bf16"})
_GPU: Final = frozenset({"fp8", "mxfp4", "nvfp4", "int8", "int4", "awq", "gptq", "bitsandbytes"})
_LLAMA_CPP_ONLY: Final = ("q", "iq", "tq")
MODEL: Final[Path] = ("spec", "model")
WORKERS: Final[Path] = ("spec", "workers")
PROFILE: Final[Path] = ("spec", "serving", "profile")
_LABEL_KEY: Final = re.compile(
    r"(?=.{1,253}/|[^/]+$)([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)


def service_faults(service: LLMService) -> Iterator[Fault]:
    """Give what is wrong with one service by itself."""
    yield from _name_faults(service)
    yield from _model_faults(service)
    yield from _option_faults(service.spec.engine.vllm)
    for name, role in _roles(service, "serve", *DISAGGREGATED):
        yield from _role_faults(role, (*WORKERS, name))
    if service.spec.serving.profile == "disaggregated":
        yield from _profile_faults(service)
        yield from _pair_faults(service)
    yield from _rollout_faults(service)
    yield from _failover_faults(service)


def clashes(services: Iterable[LLMService]) -> Iterator[tuple[int, Fault]]:
    """Give what is wrong between services, as (index of the later service, fault)."""
    keys: set[str] = set()
    holders: dict[tuple[str, ...], str] = {}
    for index, service in enumerate(services):
        key = str(service.key)
        if key in keys:
            yield index, Fault(path=("metadata", "name"), reason=f"{key} is there twice", fix="give it another name")
            continue
        keys.add(key)
        for claim, path, what, fix in _claims(service):
            other = holders.setdefault(claim, key)
            if other != key:
                reason = f'{what} "{claim[-1]}" belongs to service {other} already'
                yield index, Fault(path=path, reason=reason, fix=fix)


def _claims(service: LLMService) -> Iterator[tuple[tuple[str, ...], Path, str, str]]:
    """Give the names that no other service may have: the name with where it counts, its path, what it is, a fix."""
    for workers in workers_of(service):
        name = workload_name(service.metadata.name, workers)
        where = ("workload", service.key.namespace)
        yield (*where, name), ("metadata", "name"), "the workload", "give one of the two another name"
    names: list[tuple[str, Path]] = [(service.model_name, (*MODEL, "name"))]
    names += [(a.name, (*MODEL, "adapters", i, "name")) for i, a in enumerate(service.spec.model.adapters)]
    for name, path in names:
        yield ("model", name), path, "the model name", "give the model another name; clients choose by it"


def _name_faults(service: LLMService) -> Iterator[Fault]:
    if service.metadata.name[:1].isdigit():
        yield Fault(
            path=("metadata", "name"),
            reason=f'"{service.metadata.name}" begins with a digit, which a Service\'s name must not',
            fix=f"write, for instance, m{service.metadata.name}, and the digits in spec.model.name",
        )
    if service.metadata.namespace == SYSTEM_NAMESPACE:
        yield Fault(
            path=("metadata", "namespace"),
            reason=f"{SYSTEM_NAMESPACE} is the installation's own",
            fix="choose another namespace",
        )


def _model_faults(service: LLMService) -> Iterator[Fault]:
    model, engine = service.spec.model, service.spec.engine.name
    if not _stores(engine, model.quantization):
        kinds = "q4_0, q4_k_m, q8_0 …" if engine == "llama.cpp" else "fp8, int8, awq, gptq …"
        yield Fault(
            path=(*MODEL, "quantization"),
            reason=f"{engine} has no {model.quantization}",
            fix=f"write auto or one of its own ({kinds}), or choose another engine",
            reads=(("spec", "engine", "name"),),
        )
    seen = {service.model_name: "the model"}
    for index, adapter in enumerate(model.adapters):
        if adapter.name in seen:
            yield Fault(
                path=(*MODEL, "adapters", index, "name"),
                reason=f'"{adapter.name}" is the name of {seen[adapter.name]} already',
                fix="give each adapter a name of its own",
                reads=((*MODEL, "name"), ("metadata", "name")),
            )
        seen.setdefault(adapter.name, f"adapter {index}")


def _option_faults(options: VLLMOptions) -> Iterator[Fault]:
    path, tokens = ("spec", "engine", "vllm"), options.block_tokens
    if tokens is not None and tokens % BLOCK_STEP:
        near = tokens - tokens % BLOCK_STEP
        yield Fault(
            path=(*path, "blockTokens"),
            reason=f"{tokens} is no multiple of {BLOCK_STEP}",
            fix=f"write {near} or {near + BLOCK_STEP}",
        )
    if options.kv_cache_memory is not None and quantity(options.kv_cache_memory) < 1:
        yield Fault(path=(*path, "kvCacheMemory"), reason="is nothing", fix="write more than 0, or leave it out")


def _stores(engine: str, quantization: str) -> bool:
    """Whether an engine can serve weights that are stored so."""
    if engine == "simulated" or quantization in _PLAIN:
        return True
    if engine == "llama.cpp":
        return quantization.startswith(_LLAMA_CPP_ONLY) or quantization == "mxfp4"
    return quantization in _GPU


def _role_faults(role: Role, path: Path) -> Iterator[Fault]:
    replicas = role.replicas
    if isinstance(replicas, ReplicaRange) and replicas.min > replicas.max:
        yield Fault(
            path=(*path, "replicas"), reason=f"min {replicas.min} is above max {replicas.max}", fix="swap the two"
        )
    for name in ("cpu", "memory"):
        value: int | str | None = getattr(role.hardware, name)
        if value is not None and quantity(value) <= 0:
            yield Fault(path=(*path, "hardware", name), reason="is nothing", fix="write more than 0, or leave it out")

    for key in role.hardware.node_selector:
        if not _LABEL_KEY.fullmatch(key):
            yield Fault(
                path=(*path, "hardware", "nodeSelector", key),
                reason="is no name of a label",
                fix="write NAME or DOMAIN/NAME, NAME of at most 63 letters, digits and -_. between them",
            )


def _roles(service: LLMService, *names: WorkersName) -> Iterator[tuple[WorkersName, Role]]:
    """Give those of the roles that the file has."""
    found = ((name, getattr(service.spec.workers, name)) for name in names)
    return ((name, role) for name, role in found if role is not None)


def _profile_faults(service: LLMService) -> Iterator[Fault]:
    """Give what keeps a service from being split into roles."""
    there = {name for name, _ in _roles(service, *DISAGGREGATED)}
    if there in ({"prefill"}, {"decode"}):
        (missing,) = {"prefill", "decode"} - there
        yield Fault(
            path=WORKERS,
            reason=f"the disaggregated profile has two roles, and {missing} is missing",
            fix=f"write workers.{missing}, or neither for one replica of each, or workers.both",
            reads=(PROFILE,),
        )
    computing = [role.replicas for _, role in _roles(service, "prefill", "both")]
    is_strict = service.spec.serving.disaggregation.on_prefill_failure == "fail"
    if is_strict and computing and not any(computing):
        yield Fault(
            path=(*WORKERS, "prefill", "replicas"),
            reason="is 0, and onPrefillFailure: fail refuses all that nobody prefills",
            fix="write 1 or more, or serving.disaggregation.onPrefillFailure: decode",
            reads=(("spec", "serving", "disaggregation", "onPrefillFailure"), PROFILE),
        )
    if service.spec.engine.name == "simulated":
        yield Fault(
            path=("spec", "engine", "name"),
            reason="simulated moves no KV cache from worker to worker",
            fix="choose llama.cpp, vllm or sglang, or write serving.profile: standard",
            reads=(PROFILE,),
        )


def _pair_faults(service: LLMService) -> Iterator[Fault]:
    """Give what makes the KV caches of two roles differ: they would never pair."""
    roles, engine = list(_roles(service, *DISAGGREGATED)), service.spec.engine.name
    for name, role in roles[1:]:
        first, reference = roles[0]
        if role.parallelism != reference.parallelism:
            yield Fault(
                path=(*WORKERS, name, "parallelism"),
                reason=f"differs from that of workers.{first}, so that KV caches cannot move between them",
                fix="write the same for both",
                reads=((*WORKERS, first, "parallelism"), PROFILE),
            )
        if engine != "llama.cpp" and (role.hardware.device == "cpu") != (reference.hardware.device == "cpu"):
            yield Fault(
                path=(*WORKERS, name, "hardware", "device"),
                reason=f"{engine} moves no KV cache between CPUs and GPUs, and workers.{first} has the other kind",
                fix="give both roles GPUs, of whichever model, or both cpu",
                reads=((*WORKERS, first, "hardware", "device"), ("spec", "engine", "name"), PROFILE),
            )


def _rollout_faults(service: LLMService) -> Iterator[Fault]:
    rollout, path = service.spec.rollout, ("spec", "rollout", "steps")
    if rollout.steps and rollout.strategy != "canary":
        yield Fault(
            path=path,
            reason=f"steps do not belong to strategy {rollout.strategy}",
            fix="write strategy: canary",
            reads=(("spec", "rollout", "strategy"),),
        )
    if any(later <= earlier for earlier, later in zip(rollout.steps, rollout.steps[1:], strict=False)):
        yield Fault(path=path, reason="each step must be above the one before", fix="write, for instance, [5, 25, 50]")


def _failover_faults(service: LLMService) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, target in enumerate(service.spec.failover):
        path = ("spec", "failover", index, "service")
        if target.service == service.metadata.name:
            yield Fault(path=path, reason="a service cannot stand in for itself", fix="name another service")
        elif target.service in seen:
            yield Fault(path=path, reason=f"{target.service} is there twice", fix="keep one")
        seen.add(target.service)
