"""The Deployment of a service's engines: one container, its arguments, probes, resources and weights."""

import hashlib
from typing import Final
from urllib.parse import unquote

import msgspec

from argosy.api.containers import (
    Container,
    ContainerPort,
    EnvVar,
    EnvVarSource,
    HTTPGetAction,
    Probe,
    ResourceFieldRef,
    ResourceRequirements,
    Volume,
    VolumeMount,
)
from argosy.api.kubernetes import (
    Deployment,
    DeploymentSpec,
    DeploymentStrategy,
    LabelSelector,
    PodSpec,
    PodTemplateSpec,
    RollingUpdateDeployment,
    TemplateMeta,
)
from argosy.api.names import (
    BOTH_ROLES,
    COMPONENT,
    ENGINE_LABEL,
    ENGINE_PORT,
    MODELS_ANNOTATION,
    REVISION_LABEL,
    ROLE_LABEL,
    SERVICE_LABEL,
)
from argosy.api.objects import ObjectMeta
from argosy.api.quantity import canonical, mebibytes
from argosy.decide.planning.pods import LAST_WORDS, POD_IP, UNPRIVILEGED, image_at, spread
from argosy.decide.planning.stand_ins import Served
from argosy.engines import llama_cpp

PROGRESS_MARGIN_S: Final = 300
"""For scheduling and images: after this and the time of a start without a replica getting ready Kubernetes itself says
that a revision makes no progress."""
DEFAULT_CPUS: Final = 2
"""CPUs of a replica where the file names none."""
THREADS: Final = EnvVar(
    name="THREADS", value_from=EnvVarSource(resource_field_ref=ResourceFieldRef(resource="limits.cpu"))
)
"""As many threads as the container may use CPUs: what its node gives, which may be less than what is asked for."""
ROLE: Final = BOTH_ROLES
"""Of workers that do all of a request."""


def engine_deployment(this: Served, metadata: ObjectMeta) -> Deployment:
    """Give the Deployment of a service's engines."""
    labels = {**metadata.labels, COMPONENT: "engine", ROLE_LABEL: ROLE, ENGINE_LABEL: llama_cpp.NAME}
    selector = LabelSelector(match_labels={SERVICE_LABEL: metadata.name, ROLE_LABEL: ROLE})
    container, volumes = _engine(this)
    template = PodTemplateSpec(
        metadata=TemplateMeta(labels=labels, annotations={MODELS_ANNOTATION: this.service.model_name}),
        spec=PodSpec(
            containers=(container,),
            service_account_name=metadata.name,
            automount_service_account_token=False,
            termination_grace_period_seconds=llama_cpp.GRACE_S,
            topology_spread_constraints=spread(selector),
            volumes=volumes,
        ),
    )
    return Deployment(
        metadata=metadata,
        spec=DeploymentSpec(
            replicas=this.replicas,
            selector=selector,
            strategy=DeploymentStrategy(
                type="RollingUpdate", rolling_update=RollingUpdateDeployment(max_surge=1, max_unavailable=0)
            ),
            revision_history_limit=2,
            progress_deadline_seconds=PROGRESS_MARGIN_S + _startup(this).failure_threshold,
            template=_revised(template),
        ),
    )


def _revised(template: PodTemplateSpec) -> PodTemplateSpec:
    """Give the template with the name of its revision."""
    revision = hashlib.sha256(msgspec.json.encode(template, order="deterministic")).hexdigest()[:10]
    labels = {**template.metadata.labels, REVISION_LABEL: revision}
    metadata = msgspec.structs.replace(template.metadata, labels=labels)
    revised: PodTemplateSpec = msgspec.structs.replace(template, metadata=metadata)
    return revised


def _engine(this: Served) -> tuple[Container, tuple[Volume, ...]]:
    spec = this.service.spec
    cpu = canonical(this.hardware.cpu or DEFAULT_CPUS)
    settings = llama_cpp.Settings(
        model=_literal(this.service.model_name),
        weights=_literal(spec.model.source),
        port=ENGINE_PORT,
        threads=f"$({THREADS.name})",
        parallel=spec.engine.parallel_requests or llama_cpp.DEFAULT_PARALLEL,
        context_tokens=spec.engine.context_tokens or llama_cpp.DEFAULT_CONTEXT_TOKENS,
    )
    volumes, mounts = _files(spec.model.source)
    scratch, scratch_mount = _scratch()
    container = Container(
        name="engine",
        image=image_at(this.image_registry, llama_cpp.IMAGE),
        args=llama_cpp.args(settings),
        env=(POD_IP, THREADS),
        ports=(ContainerPort(name="http", container_port=ENGINE_PORT),),
        resources=_resources(this, settings, cpu),
        startup_probe=_probe(_startup(this)),
        readiness_probe=_probe(llama_cpp.READINESS_PROBE),
        liveness_probe=_probe(llama_cpp.LIVENESS_PROBE, grace_s=llama_cpp.STUCK_GRACE_S),
        volume_mounts=(*mounts, scratch_mount),
        termination_message_policy=LAST_WORDS,
        security_context=UNPRIVILEGED,
    )
    return container, (*volumes, scratch)


def _startup(this: Served) -> llama_cpp.Probe:
    return llama_cpp.startup_probe(this.weights.size_bytes if this.weights else None)


def _literal(text: str) -> str:
    """Keep Kubernetes from replacing `$(NAME)` in what a user wrote."""
    return text.replace("$", "$$")


def _scratch() -> tuple[Volume, VolumeMount]:
    """Give the one place where an engine may write: sockets and the like, no data."""
    volume = Volume(name="scratch", empty_dir={"sizeLimit": "64Mi"})
    return volume, VolumeMount(name="scratch", mount_path="/tmp")  # noqa: S108 (a pod's own)


def _files(source: str) -> tuple[tuple[Volume, ...], tuple[VolumeMount, ...]]:
    """Give the volume of weights that lie on every node, at the same path inside."""
    if not source.startswith("file://"):
        return (), ()
    path = unquote(source.removeprefix("file://"))
    return (
        (Volume(name="weights", host_path={"path": path, "type": "File"}),),
        (VolumeMount(name="weights", mount_path=path, read_only=True),),
    )


def _resources(this: Served, settings: llama_cpp.Settings, cpu: str) -> ResourceRequirements:
    """Give as many CPUs as threads, and what weights and KV cache need; a quarter more is the limit.

    Nothing is said of memory where the weights are unknown: a wrong limit kills.
    """
    memory, weights = this.hardware.memory, this.weights
    if memory is not None:
        memory = canonical(memory)
        return ResourceRequirements(requests={"cpu": cpu, "memory": memory}, limits={"cpu": cpu, "memory": memory})
    if weights is None or weights.kv_bytes_per_token is None:
        return ResourceRequirements(requests={"cpu": cpu}, limits={"cpu": cpu})
    need = llama_cpp.memory_bytes(
        weights_bytes=weights.size_bytes, kv_bytes_per_token=weights.kv_bytes_per_token, settings=settings
    )
    return ResourceRequirements(
        requests={"cpu": cpu, "memory": mebibytes(need)}, limits={"cpu": cpu, "memory": mebibytes(need * 5 // 4)}
    )


def _probe(probe: llama_cpp.Probe, *, grace_s: int | None = None) -> Probe:
    return Probe(
        http_get=HTTPGetAction(path=probe.path, port="http"),
        period_seconds=probe.period_s,
        timeout_seconds=probe.timeout_s,
        failure_threshold=probe.failure_threshold,
        termination_grace_period_seconds=grace_s,
    )
