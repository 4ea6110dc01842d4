"""Kubernetes' own objects, as far as Argosy uses them: Deployment, Pod, Service, Namespace, ServiceAccount."""

from typing import Any, ClassVar

import msgspec

from argosy.api.objects import Condition, Object, Value


class LabelSelector(Value, frozen=True, kw_only=True):
    """Equality of labels; set expressions are not used."""

    match_labels: dict[str, str] = {}


class FieldRef(Value, frozen=True, kw_only=True):
    """A field of the pod itself: `metadata.name`, `metadata.namespace`, `status.podIP`."""

    field_path: str


class ResourceFieldRef(Value, frozen=True, kw_only=True):
    """A resource of the container: `limits.cpu`, rounded up to a whole number when divisor is 1."""

    resource: str
    divisor: str | None = None


class EnvVarSource(Value, frozen=True, kw_only=True):
    """Where a variable's value comes from."""

    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None


class EnvVar(Value, frozen=True, kw_only=True):
    """One environment variable; `$(NAME)` in args and later values is replaced."""

    name: str
    value: str | None = None
    value_from: EnvVarSource | None = None


class ContainerPort(Value, frozen=True, kw_only=True):
    """A port that the container listens on."""

    container_port: int
    name: str | None = None
    protocol: str | None = None


class HTTPGetAction(Value, frozen=True, kw_only=True):
    """Healthy when a GET answers 200 to 399."""

    path: str
    port: int | str


class TCPSocketAction(Value, frozen=True, kw_only=True):
    """Healthy when a connection opens."""

    port: int | str


class Probe(Value, frozen=True, kw_only=True):
    """How health is asked for; times in seconds.

    `termination_grace_period_seconds` is the grace of a container that the probe has given up, in the pod's place.
    """

    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class ResourceRequirements(Value, frozen=True, kw_only=True):
    """Kubernetes quantities by resource name."""

    requests: dict[str, str] = {}
    limits: dict[str, str] = {}


class SecurityContext(Value, frozen=True, kw_only=True):
    """What the container may do."""

    run_as_non_root: bool | None = None
    run_as_user: int | None = None
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool | None = None
    capabilities: dict[str, tuple[str, ...]] | None = None
    seccomp_profile: dict[str, str] | None = None


class VolumeMount(Value, frozen=True, kw_only=True):
    """Where a volume appears in the container."""

    name: str
    mount_path: str
    read_only: bool | None = None


class Volume(Value, frozen=True, kw_only=True):
    """Storage of a pod."""

    name: str
    empty_dir: dict[str, Any] | None = None
    host_path: dict[str, str] | None = None


class Container(Value, frozen=True, kw_only=True):
    """One process of a pod."""

    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    resources: ResourceRequirements | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    volume_mounts: tuple[VolumeMount, ...] = ()
    security_context: SecurityContext | None = None


class PodSpec(Value, frozen=True, kw_only=True):
    """What runs together at one address."""

    containers: tuple[Container, ...]
    node_name: str | None = None
    node_selector: dict[str, str] = {}
    service_account_name: str | None = None
    automount_service_account_token: bool | None = None
    termination_grace_period_seconds: int | None = None
    volumes: tuple[Volume, ...] = ()
    security_context: SecurityContext | None = None


class TemplateMeta(Value, frozen=True, kw_only=True):
    """Labels and annotations of pods to come."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class PodTemplateSpec(Value, frozen=True, kw_only=True):
    """The pods of a Deployment."""

    metadata: TemplateMeta
    spec: PodSpec


class ContainerStatus(Value, frozen=True, kw_only=True):
    """What became of a container."""

    name: str
    ready: bool
    restart_count: int
    image: str = ""
    started: bool | None = None
    state: dict[str, Any] = {}
    last_state: dict[str, Any] = {}


class PodStatus(Value, frozen=True, kw_only=True):
    """Where the pod is and whether it may get requests."""

    phase: str = "Pending"
    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    message: str | None = None
    start_time: str | None = None


class Pod(Object, frozen=True, kw_only=True):
    """A pod."""

    API_VERSION: ClassVar[str] = "v1"
    KIND: ClassVar[str] = "Pod"
    PLURAL: ClassVar[str] = "pods"

    spec: PodSpec
    status: PodStatus = PodStatus()

    @property
    def ready(self) -> bool:
        """Whether the pod may get new requests: condition Ready is True and it is not being deleted."""
        return self.metadata.deletion_timestamp is None and any(
            c.type == "Ready" and c.status == "True" for c in self.status.conditions
        )


class RollingUpdateDeployment(Value, frozen=True, kw_only=True):
    """How many pods may be missing or too many during a rollout."""

    max_surge: int | str | None = None
    max_unavailable: int | str | None = None


class DeploymentStrategy(Value, frozen=True, kw_only=True):
    """RollingUpdate (the default) or Recreate."""

    type: str | None = None
    rolling_update: RollingUpdateDeployment | None = None


class DeploymentSpec(Value, frozen=True, kw_only=True):
    """Wanted pods. `replicas` is always written, 0 and 1 included."""

    replicas: int
    selector: LabelSelector
    template: PodTemplateSpec
    strategy: DeploymentStrategy | None = None
    revision_history_limit: int | None = None
    progress_deadline_seconds: int | None = None


class DeploymentStatus(Value, frozen=True, kw_only=True):
    """Counted pods."""

    observed_generation: int | None = None
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    conditions: tuple[Condition, ...] = ()


class Deployment(Object, frozen=True, kw_only=True):
    """Pods that are replaced when they fail or when their template changes."""

    API_VERSION: ClassVar[str] = "apps/v1"
    KIND: ClassVar[str] = "Deployment"
    PLURAL: ClassVar[str] = "deployments"

    spec: DeploymentSpec
    status: DeploymentStatus = DeploymentStatus()


class ServicePort(Value, frozen=True, kw_only=True):
    """A port of a Service."""

    port: int
    name: str | None = None
    target_port: int | str | None = None
    protocol: str | None = None
    app_protocol: str | None = None


class ServiceSpec(Value, frozen=True, kw_only=True):
    """Which pods, which ports."""

    selector: dict[str, str] = {}
    ports: tuple[ServicePort, ...] = ()
    type: str | None = None
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")


class Service(Object, frozen=True, kw_only=True):
    """A name for pods."""

    API_VERSION: ClassVar[str] = "v1"
    KIND: ClassVar[str] = "Service"
    PLURAL: ClassVar[str] = "services"

    spec: ServiceSpec


class Namespace(Object, frozen=True, kw_only=True):
    """A namespace."""

    API_VERSION: ClassVar[str] = "v1"
    KIND: ClassVar[str] = "Namespace"
    PLURAL: ClassVar[str] = "namespaces"
    NAMESPACED: ClassVar[bool] = False


class ServiceAccount(Object, frozen=True, kw_only=True):
    """An identity for pods."""

    API_VERSION: ClassVar[str] = "v1"
    KIND: ClassVar[str] = "ServiceAccount"
    PLURAL: ClassVar[str] = "serviceaccounts"

    automount_service_account_token: bool | None = None
