"""What must hold between the fields of an LLMService, and between services: every fault, not only the first.

Only what is wrong everywhere is a fault. What a machine or a version cannot do gets a stand-in from planning.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from argosy.api.llmservice import LLMService, ReplicaRange, Role
from argosy.api.names import SYSTEM_NAMESPACE
from argosy.api.quantity import quantity
from argosy.api.shape import Fault, Path

_PLAIN: Final = frozenset({"auto", "f32", "f16", "bf16"})
_GPU: Final = frozenset({"fp8", "mxfp4", "nvfp4", "int8", "int4", "awq", "gptq", "bitsandbytes"})
_LLAMA_CPP_ONLY: Final = ("q", "iq", "tq")
MODEL: Final[Path] = ("spec", "model")
WORKERS: Final[Path] = ("spec", "workers")


def service_faults(service: LLMService) -> Iterator[Fault]:
    """Give what is wrong with one service by itself."""
    yield from _name_faults(service)
    yield from _model_faults(service)
    for name in ("serve", "prefill", "decode"):
        role: Role | None = getattr(service.spec.workers, name)
        if role is not None:
            yield from _role_faults(role, (*WORKERS, name))
    yield from _profile_faults(service)
    yield from _rollout_faults(service)
    yield from _failover_faults(service)


def clashes(services: Iterable[LLMService]) -> Iterator[tuple[int, Fault]]:
    """Give what is wrong between services, as (index of the later service, fault)."""
    keys: dict[str, int] = {}
    models: dict[str, str] = {}
    for index, service in enumerate(services):
        key = str(service.key)
        if key in keys:
            yield index, Fault(path=("metadata", "name"), reason=f"{key} is there twice", fix="give it another name")
            continue
        keys[key] = index
        names = [(service.model_name, (*MODEL, "name"))]
        names += [(a.name, (*MODEL, "adapters", i, "name")) for i, a in enumerate(service.spec.model.adapters)]
        for name, path in names:
            other = models.setdefault(name, key)
            if other != key:
                yield (
                    index,
                    Fault(
                        path=path,
                        reason=f'the model name "{name}" belongs to service {other} already',
                        fix="give the model another name; clients choose by it",
                    ),
                )


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


def _profile_faults(service: LLMService) -> Iterator[Fault]:
    workers = service.spec.workers
    if service.spec.serving.profile == "disaggregated" and (workers.prefill is None) != (workers.decode is None):
        missing = "prefill" if workers.prefill is None else "decode"
        yield Fault(
            path=WORKERS,
            reason=f"the disaggregated profile has two roles, and {missing} is missing",
            fix=f"write workers.{missing}, or neither for one replica of each",
            reads=(("spec", "serving", "profile"),),
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
