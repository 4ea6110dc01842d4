"""What a service owns: Service, Deployment, InferencePool and HTTPRoute, all of its own name."""

from typing import Final
from urllib.parse import unquote

from argosy.api.gateway import BackendRef, HeaderMatch, HTTPRoute, HTTPRouteSpec, ParentReference, RouteMatch, RouteRule
from argosy.api.inference import GROUP as INFERENCE_GROUP
from argosy.api.inference import InferencePool, InferencePoolSpec, TargetPort
from argosy.api.kubernetes import (
    Container,
    ContainerPort,
    Deployment,
    DeploymentSpec,
    DeploymentStrategy,
    EnvVar,
    EnvVarSource,
    HTTPGetAction,
    LabelSelector,
    PodSpec,
    PodTemplateSpec,
    Probe,
    ResourceFieldRef,
    ResourceRequirements,
    RollingUpdateDeployment,
    Service,
    ServicePort,
    ServiceSpec,
    TemplateMeta,
    Volume,
    VolumeMount,
)
from argosy.api.llmservice import LLMService
from argosy.api.names import (
    COMPONENT,
    ENGINE_LABEL,
    ENGINE_PORT,
    INSTANCE,
    MANAGED_BY,
    PART_OF,
    ROLE_LABEL,
    SERVICE_LABEL,
    SYSTEM_NAMESPACE,
)
from argosy.api.objects import Object, ObjectMeta, OwnerReference
from argosy.api.quantity import canonical, mebibytes
from argosy.decide.planning.installation import GATEWAY_NAME
from argosy.decide.planning.pods import OWNER, POD_IP, UNPRIVILEGED
from argosy.decide.planning.stand_ins import Served
from argosy.engines import llama_cpp

DEFAULT_CPUS: Final = 2
"""CPUs of a replica where the file names none."""
THREADS: Final = EnvVar(
    name="THREADS", value_from=EnvVarSource(resource_field_ref=ResourceFieldRef(resource="limits.cpu"))
)
"""As many threads as the container may use CPUs: what its node gives, which may be less than what is asked for."""
ROLE: Final = "prefill-decode"
"""The value of `llm-d.ai/role` for workers that do all of a request."""


def workload(this: Served) -> tuple[Object, ...]:
    """Give the objects of a service, in the order of creation."""
    return (
        _service(this.service),
        _deployment(this),
        _pool(this.service),
        _route(this.service),
    )


def _metadata(service: LLMService) -> ObjectMeta:
    owner: tuple[OwnerReference, ...] = ()
    if service.metadata.uid is not None:
        owner = (
            OwnerReference(
                api_version=service.API_VERSION,
                kind=service.KIND,
                name=service.metadata.name,
                uid=service.metadata.uid,
                controller=True,
            ),
        )
    return ObjectMeta(
        name=service.metadata.name,
        namespace=service.metadata.namespace,
        labels={
            MANAGED_BY: OWNER,
            PART_OF: "argosy",
            INSTANCE: service.metadata.name,
            SERVICE_LABEL: service.metadata.name,
        },
        owner_references=owner,
    )


def _selector(service: LLMService) -> dict[str, str]:
    return {SERVICE_LABEL: service.metadata.name}


def _service(service: LLMService) -> Service:
    port = ServicePort(name="http", port=ENGINE_PORT, target_port="http")
    return Service(metadata=_metadata(service), spec=ServiceSpec(selector=_selector(service), ports=(port,)))


def _deployment(this: Served) -> Deployment:
    metadata = _metadata(this.service)
    labels = {**metadata.labels, COMPONENT: "engine", ROLE_LABEL: ROLE, ENGINE_LABEL: llama_cpp.NAME}
    container, volumes = _engine(this)
    return Deployment(
        metadata=metadata,
        spec=DeploymentSpec(
            replicas=this.replicas,
            selector=LabelSelector(match_labels={**_selector(this.service), ROLE_LABEL: ROLE}),
            strategy=DeploymentStrategy(
                type="RollingUpdate", rolling_update=RollingUpdateDeployment(max_surge=1, max_unavailable=0)
            ),
            revision_history_limit=2,
            progress_deadline_seconds=900,
            template=PodTemplateSpec(
                metadata=TemplateMeta(labels=labels),
                spec=PodSpec(
                    containers=(container,),
                    automount_service_account_token=False,
                    termination_grace_period_seconds=llama_cpp.GRACE_S,
                    volumes=volumes,
                ),
            ),
        ),
    )


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
    container = Container(
        name="engine",
        image=llama_cpp.IMAGE,
        args=llama_cpp.args(settings),
        env=(POD_IP, THREADS),
        ports=(ContainerPort(name="http", container_port=ENGINE_PORT),),
        resources=_resources(this, settings, cpu),
        startup_probe=_probe(llama_cpp.STARTUP_PROBE),
        readiness_probe=_probe(llama_cpp.READINESS_PROBE),
        liveness_probe=_probe(llama_cpp.LIVENESS_PROBE, grace_s=llama_cpp.STUCK_GRACE_S),
        volume_mounts=mounts,
        security_context=UNPRIVILEGED,
    )
    return container, volumes


def _literal(text: str) -> str:
    """Keep Kubernetes from replacing `$(NAME)` in what a user wrote."""
    return text.replace("$", "$$")


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


def _pool(service: LLMService) -> InferencePool:
    """Give the pool. It names no picker: the installation's serves all pools, and a pool of ours fails open."""
    return InferencePool(
        metadata=_metadata(service),
        spec=InferencePoolSpec(
            selector=LabelSelector(match_labels=_selector(service)), target_ports=(TargetPort(number=ENGINE_PORT),)
        ),
    )


def _route(service: LLMService) -> HTTPRoute:
    model = HeaderMatch(type="Exact", name="X-Gateway-Model-Name", value=service.model_name)
    pool = BackendRef(group=INFERENCE_GROUP, kind=InferencePool.KIND, name=service.metadata.name)
    return HTTPRoute(
        metadata=_metadata(service),
        spec=HTTPRouteSpec(
            parent_refs=(ParentReference(name=GATEWAY_NAME, namespace=SYSTEM_NAMESPACE),),
            rules=(RouteRule(matches=(RouteMatch(headers=(model,)),), backend_refs=(pool,)),),
        ),
    )
