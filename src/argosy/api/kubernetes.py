"""Kubernetes' own objects, as far as Argosy uses them: Deployment, Pod, Service, Namespace, ServiceAccount."""

from typing import Any, ClassVar

import msgspec

from argosy.api.containers import Container, PodSecurityContext, Volume
from argosy.api.objects import Condition, Object, Value


class LabelSelector(Value, frozen=True, kw_only=True):
    """Equality of labels; set expressions are not used."""

    match_labels: dict[str, str] = {}


class TopologySpreadConstraint(Value, frozen=True, kw_only=True):
    """How evenly pods lie over the values of a node label; `when_unsatisfiable` is DoNotSchedule or ScheduleAnyway."""

    max_skew: int
    topology_key: str
    when_unsatisfiable: str
    label_selector: LabelSelector


class PodSpec(Value, frozen=True, kw_only=True):
    """What runs together at one address."""

    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()
    restart_policy: str | None = None
    node_name: str | None = None
    node_selector: dict[str, str] = {}
    service_account_name: str | None = None
    automount_service_account_token: bool | None = None
    termination_grace_period_seconds: int | None = None
    volumes: tuple[Volume, ...] = ()
    security_context: PodSecurityContext | None = None
    topology_spread_constraints: tuple[TopologySpreadConstraint, ...] = ()
    host_network: bool | None = None
    enable_service_links: bool | None = None
    hostname: str | None = None
    subdomain: str | None = None


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
    init_container_statuses: tuple[ContainerStatus, ...] = ()
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

    @property
    def unheard(self) -> bool:
        """Whether its node has fallen silent, and had said last that all its containers are ready.

        The node lifecycle controller takes Ready alone from the pods of such a node; a kubelet takes ContainersReady
        too, or says that a readiness gate holds the pod back.
        """
        conditions = {c.type: c for c in self.status.conditions}
        ready, containers = conditions.get("Ready"), conditions.get("ContainersReady")
        return (
            self.metadata.deletion_timestamp is None
            and ready is not None
            and (ready.status != "True" and ready.reason != "ReadinessGatesNotReady")
            and (containers is not None and containers.status == "True")
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
    external_name: str | None = None


class LoadBalancerIngress(Value, frozen=True, kw_only=True):
    """Where a load balancer takes traffic in."""

    ip: str | None = None
    hostname: str | None = None


class LoadBalancerStatus(Value, frozen=True, kw_only=True):
    """What a load balancer has given."""

    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(Value, frozen=True, kw_only=True):
    """What became of a Service."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(Object, frozen=True, kw_only=True):
    """A name for pods."""

    API_VERSION: ClassVar[str] = "v1"
    KIND: ClassVar[str] = "Service"
    PLURAL: ClassVar[str] = "services"

    spec: ServiceSpec
    status: ServiceStatus = ServiceStatus()


class ConfigMap(Object, frozen=True, kw_only=True):
    """Settings by key."""

    API_VERSION: ClassVar[str] = "v1"
    KIND: ClassVar[str] = "ConfigMap"
    PLURAL: ClassVar[str] = "configmaps"

    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}


class Secret(Object, frozen=True, kw_only=True):
    """Values by key, in base64."""

    API_VERSION: ClassVar[str] = "v1"
    KIND: ClassVar[str] = "Secret"
    PLURAL: ClassVar[str] = "secrets"

    data: dict[str, str] = {}
    type: str | None = None


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
