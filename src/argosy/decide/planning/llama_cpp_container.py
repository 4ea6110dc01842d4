"""The container of our llama.cpp server."""

from argosy.api.containers import Container, Probe, Volume, VolumeMount
from argosy.api.llmservice import Model
from argosy.api.names import ENGINE_PORT, KV_PORT
from argosy.decide.planning.engine_container import (
    THREADS,
    EngineContainer,
    answering,
    files,
    hands_over,
    literal,
    ports,
    resources,
    scratch,
)
from argosy.decide.planning.pods import LAST_WORDS, POD_IP, UNPRIVILEGED, image_at
from argosy.decide.planning.stand_ins import Served, ServedRole
from argosy.engines import llama_cpp


def llama_cpp_container(this: Served, role: ServedRole) -> EngineContainer:
    """Give the container of workers of a role."""
    spec = this.service.spec
    settings = llama_cpp.Settings(
        model=literal(this.service.model_name),
        weights=literal(spec.model.source),
        adapters=tuple(
            llama_cpp.Adapter(name=literal(each.name), source=literal(each.source)) for each in spec.model.adapters
        ),
        port=ENGINE_PORT,
        threads=f"$({THREADS.name})",
        parallel=spec.engine.parallel_requests or llama_cpp.DEFAULT_PARALLEL,
        context_tokens=spec.engine.context_tokens or llama_cpp.DEFAULT_CONTEXT_TOKENS,
        kv_port=KV_PORT if hands_over(role) else 0,
    )
    startup = llama_cpp.startup_probe(this.weights.size_bytes + this.adapters_bytes if this.weights else None)
    volumes, mounts = _files(spec.model)
    kv_bytes_per_token = this.weights.kv_bytes_per_token if this.weights else None
    handed_bytes = llama_cpp.kv_room_bytes(kv_bytes_per_token, settings) if hands_over(role) else 0
    room, mount = scratch(handed_bytes=handed_bytes)
    image = image_at(this.image_registry, llama_cpp.IMAGE)
    container = Container(
        name="engine",
        image=image,
        args=llama_cpp.args(settings),
        env=(POD_IP, THREADS),
        ports=ports(role),
        resources=resources(role, need_bytes=_need_bytes(this, settings, handed_bytes)),
        startup_probe=_probe(startup),
        readiness_probe=_probe(llama_cpp.READINESS_PROBE),
        liveness_probe=_probe(llama_cpp.LIVENESS_PROBE, grace_s=llama_cpp.STUCK_GRACE_S),
        volume_mounts=(*mounts, mount),
        termination_message_policy=LAST_WORDS,
        security_context=UNPRIVILEGED,
    )
    return EngineContainer(
        container=container,
        volumes=(*volumes, room),
        startup_s=startup.failure_threshold,
        grace_s=llama_cpp.GRACE_S,
        layout=(
            image,
            spec.model.source,
            settings.parallel,
            *((each.name, each.source) for each in spec.model.adapters),
        ),
    )


def _files(model: Model) -> tuple[tuple[Volume, ...], tuple[VolumeMount, ...]]:
    """Give the volumes of weights and adapters, one for each file."""
    others = dict.fromkeys(each.source for each in model.adapters if each.source != model.source)
    found = [files(model.source), *(files(other, name=f"adapter-{index}") for index, other in enumerate(others))]
    return tuple(one for volumes, _ in found for one in volumes), tuple(one for _, mounts in found for one in mounts)


def _need_bytes(this: Served, settings: llama_cpp.Settings, handed_bytes: int) -> int | None:
    """Give the memory that weights, KV cache and what waits for others need; None where the weights are unknown."""
    weights = this.weights
    if weights is None or weights.kv_bytes_per_token is None:
        return None
    own_bytes = llama_cpp.memory_bytes(
        weights_bytes=weights.size_bytes + this.adapters_bytes,
        kv_bytes_per_token=weights.kv_bytes_per_token,
        settings=settings,
    )
    return own_bytes + handed_bytes


def _probe(probe: llama_cpp.Probe, *, grace_s: int | None = None) -> Probe:
    return answering(
        probe.path,
        period_s=probe.period_s,
        timeout_s=probe.timeout_s,
        failures=probe.failure_threshold,
        grace_s=grace_s,
    )
