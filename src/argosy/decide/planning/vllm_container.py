"""The container of vLLM, on GPUs and on CPUs."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from argosy.api.containers import (
    Container,
    EnvVar,
    Lifecycle,
    LifecycleHandler,
    Probe,
    ResourceRequirements,
    SleepAction,
    Volume,
    VolumeMount,
)
from argosy.api.names import ENGINE_PORT, KV_PORT
from argosy.api.quantity import canonical, quantity
from argosy.api.workers import WorkersName
from argosy.decide.planning.engine_choice import HUB
from argosy.decide.planning.engine_container import (
    THREADS,
    EngineContainer,
    answering,
    files,
    literal,
    ports,
    resources,
)
from argosy.decide.planning.pods import LAST_WORDS, POD_IP, UNPRIVILEGED, image_at
from argosy.decide.planning.stand_ins import Served, ServedRole
from argosy.engines import vllm

GPU: Final = "nvidia.com/gpu"
"""The resource of NVIDIA's device plugin."""
GPU_CPUS: Final = 4
"""CPUs beside GPUs where the file names none: what a replica is sure of, and no limit."""
KV_ROLES: Final[Mapping[WorkersName, vllm.KVRole]] = {
    "prefill": "kv_producer",
    "decode": "kv_consumer",
    "both": "kv_both",
}
"""Workers that do all of a request hand nothing over."""
SHARED: Final = (
    Volume(name="shm", empty_dir={"medium": "Memory", "sizeLimit": "8Gi"}),
    VolumeMount(name="shm", mount_path="/dev/shm"),  # noqa: S108 (a pod's own)
)
"""Through which the processes of a replica speak; a container has 64 MiB of it by itself."""
HOME: Final = "/cache"
ROOM: Final = (Volume(name="scratch", empty_dir={}), VolumeMount(name="scratch", mount_path="/tmp"))  # noqa: S108
CACHE: Final = (Volume(name="cache", empty_dir={}), VolumeMount(name="cache", mount_path=HOME))
"""What is fetched and compiled, for as long as the pod is there."""
PERIOD_S: Final = 2
TIMEOUT_S: Final = 4
"""Of a probe. Those of liveness do not overlap: so many failures take as long as they say."""


def vllm_container(this: Served, role: ServedRole) -> EngineContainer:
    """Give the container of workers of a role."""
    settings = _settings(this, role)
    source, adapters = this.service.spec.model.source, this.service.spec.model.adapters
    volumes, mounts = _volumes([source, *(each.source for each in adapters)])
    startup_s = vllm.STARTUP_S + (vllm.DOWNLOAD_S if source.startswith(HUB) else 0)
    image = image_at(this.image_registry, vllm.CPU_IMAGE if settings.on_cpu else vllm.GPU_IMAGE)
    container = Container(
        name="engine",
        image=image,
        args=vllm.args(settings),
        env=_variables(settings),
        ports=ports(role),
        resources=_resources(this, role, settings),
        startup_probe=_healthy(failures=startup_s // PERIOD_S),
        readiness_probe=_healthy(failures=2),
        liveness_probe=answering(
            vllm.HEALTH_PATH,
            period_s=vllm.LIVENESS_PERIOD_S,
            timeout_s=TIMEOUT_S,
            failures=vllm.LIVENESS_FAILURES,
            grace_s=vllm.STUCK_GRACE_S,
        ),
        lifecycle=Lifecycle(pre_stop=LifecycleHandler(sleep=SleepAction(seconds=vllm.ACCEPT_S))),
        volume_mounts=mounts,
        termination_message_policy=LAST_WORDS,
        security_context=UNPRIVILEGED,
    )
    return EngineContainer(
        container=container,
        volumes=volumes,
        startup_s=startup_s,
        grace_s=vllm.GRACE_S,
        layout=(
            *(image, source, vllm.dtype(settings), settings.quantization, settings.options.block_tokens),
            *(settings.tensor, settings.pipeline, settings.data),
            [(each.name, each.source) for each in adapters],
        ),
        peer_ports=(),  # UCX, which moves the caches, chooses them
        service_links=False,  # that of a Service named vllm, VLLM_PORT, is one of its own variables
        fetches=any(each.startswith(HUB) for each in (source, *(each.source for each in adapters))),
    )


def _settings(this: Served, role: ServedRole) -> vllm.Settings:
    spec, on_cpu = this.service.spec, role.on_cpu
    asked, options = spec.engine, spec.engine.vllm
    context_tokens = asked.context_tokens or (vllm.CPU_CONTEXT_TOKENS if on_cpu else None)
    parallel = asked.parallel_requests or (vllm.CPU_PARALLEL if on_cpu else None)
    kv_bytes = int(quantity(options.kv_cache_memory)) if options.kv_cache_memory else None
    if kv_bytes is None and context_tokens is not None and parallel is not None and on_cpu:
        per_token = this.weights.kv_bytes_per_token if this.weights else None
        kv_bytes = vllm.cpu_kv_bytes(per_token, context_tokens=context_tokens, parallel=parallel)
    return vllm.Settings(
        model=literal(this.service.model_name),
        weights=literal(_place(spec.model.source)),
        on_cpu=on_cpu,
        kv_role=KV_ROLES.get(role.name),
        port=ENGINE_PORT,
        kv_port=KV_PORT,
        threads=f"$({THREADS.name})",
        context_tokens=context_tokens,
        parallel=parallel,
        kv_bytes=kv_bytes,
        quantization=spec.model.quantization,
        tensor=role.parallelism.tensor,
        pipeline=role.parallelism.pipeline,
        data=role.parallelism.data,
        adapters=tuple(
            vllm.Adapter(name=literal(each.name), path=literal(_place(each.source))) for each in spec.model.adapters
        ),
        options=options,
    )


def _place(source: str) -> str:
    """Give what vLLM calls a source: a folder's path, or a name of the hub."""
    return source.removeprefix(HUB) if source.startswith(HUB) else unquote(source.removeprefix("file://"))


def _volumes(sources: list[str]) -> tuple[tuple[Volume, ...], tuple[VolumeMount, ...]]:
    volumes, mounts = [ROOM[0], SHARED[0], CACHE[0]], [ROOM[1], SHARED[1], CACHE[1]]
    for index, source in enumerate(dict.fromkeys(sources)):
        more, at = files(source, name=f"weights-{index}", kind="Directory")
        volumes += more
        mounts += at
    return tuple(volumes), tuple(mounts)


def _variables(settings: vllm.Settings) -> tuple[EnvVar, ...]:
    # Its user has no entry in the image, so nothing but variables says its name and its home.
    found = {"HOME": HOME, "USER": "argosy", **vllm.environment(settings)}
    return (
        POD_IP,
        *((THREADS,) if settings.on_cpu else ()),
        *(EnvVar(name=name, value=value) for name, value in found.items()),
    )


def _resources(this: Served, role: ServedRole, settings: vllm.Settings) -> ResourceRequirements:
    if settings.on_cpu:
        return resources(role, need_bytes=_need_bytes(this, settings))
    gpus = {GPU: str(settings.tensor * settings.pipeline * settings.data)}
    memory = {} if role.hardware.memory is None else {"memory": canonical(role.hardware.memory)}
    cpu = canonical(role.hardware.cpu or GPU_CPUS)
    return ResourceRequirements(requests={"cpu": cpu, **memory, **gpus}, limits={**memory, **gpus})


def _need_bytes(this: Served, settings: vllm.Settings) -> int | None:
    """Give the memory that weights, KV cache and vLLM itself need; None where the weights are unknown."""
    if this.weights is None:
        return None
    return this.weights.size_bytes + (settings.kv_bytes or 0) + vllm.PROCESS_BYTES


def _healthy(*, failures: int) -> Probe:
    return answering(vllm.HEALTH_PATH, period_s=PERIOD_S, timeout_s=TIMEOUT_S, failures=failures)
