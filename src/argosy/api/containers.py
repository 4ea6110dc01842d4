"""What pods are made of: containers, probes, variables, volumes, as far as Argosy uses them."""

from typing import Any

import msgspec

from argosy.api.objects import Value


class FieldRef(Value, frozen=True, kw_only=True):
    """A field of the pod itself: `metadata.name`, `metadata.namespace`, `status.podIP`."""

    field_path: str


class ResourceFieldRef(Value, frozen=True, kw_only=True):
    """A resource of the container: `limits.cpu`, rounded up to a whole number when divisor is 1."""

    resource: str
    divisor: str | None = None
    container_name: str | None = None


class KeySelector(Value, frozen=True, kw_only=True):
    """One key of a ConfigMap or Secret of the pod's namespace."""

    name: str
    key: str
    optional: bool | None = None


class EnvVarSource(Value, frozen=True, kw_only=True):
    """Where a variable's value comes from."""

    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None


class EnvVar(Value, frozen=True, kw_only=True):
    """One environment variable; `$(NAME)` in args and later values is replaced."""

    name: str
    value: str | None = None
    value_from: EnvVarSource | None = None


class SourceName(Value, frozen=True, kw_only=True):
    """A ConfigMap or Secret of the pod's namespace."""

    name: str
    optional: bool | None = None


class EnvFromSource(Value, frozen=True, kw_only=True):
    """All keys of a ConfigMap or Secret as variables, `prefix` before each name."""

    prefix: str | None = None
    config_map_ref: SourceName | None = None
    secret_ref: SourceName | None = None


class ContainerPort(Value, frozen=True, kw_only=True):
    """A port that the container listens on."""

    container_port: int
    name: str | None = None
    protocol: str | None = None


class HTTPGetAction(Value, frozen=True, kw_only=True):
    """Healthy when a GET answers 200 to 399."""

    path: str = "/"
    port: int | str
    host: str | None = None
    scheme: str | None = None
    http_headers: tuple[dict[str, str], ...] = ()


class TCPSocketAction(Value, frozen=True, kw_only=True):
    """Healthy when a connection opens."""

    port: int | str


class ExecAction(Value, frozen=True, kw_only=True):
    """Healthy when the command ends with 0."""

    command: tuple[str, ...]


class GRPCAction(Value, frozen=True, kw_only=True):
    """Healthy when grpc.health.v1 says SERVING of the service."""

    port: int
    service: str | None = None


class SleepAction(Value, frozen=True, kw_only=True):
    """Wait, in seconds."""

    seconds: int


class LifecycleHandler(Value, frozen=True, kw_only=True):
    """What is done at a turn of a container's life; one of these."""

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(Value, frozen=True, kw_only=True):
    """What is done after a container has started, and before it is told to end."""

    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None


class Probe(Value, frozen=True, kw_only=True):
    """How health is asked for; times in seconds.

    `termination_grace_period_seconds` is the grace of a container that the probe has given up, in the pod's place.
    """

    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    exec: ExecAction | None = None
    grpc: GRPCAction | None = None
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
    run_as_group: int | None = None
    privileged: bool | None = None
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool | None = None
    capabilities: dict[str, tuple[str, ...]] | None = None
    seccomp_profile: dict[str, str] | None = None


class PodSecurityContext(Value, frozen=True, kw_only=True):
    """What all containers of a pod may do, and whose its volumes are."""

    run_as_non_root: bool | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    fs_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    seccomp_profile: dict[str, str] | None = None


class VolumeMount(Value, frozen=True, kw_only=True):
    """Where a volume appears in the container."""

    name: str
    mount_path: str
    read_only: bool | None = None
    sub_path: str | None = None


class KeyToPath(Value, frozen=True, kw_only=True):
    """One key as a file; `mode` is its permission bits."""

    key: str
    path: str
    mode: int | None = None


class DownwardFile(Value, frozen=True, kw_only=True):
    """A field of the pod, or a resource of one of its containers, as a file."""

    path: str
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    mode: int | None = None


class SecretVolume(Value, frozen=True, kw_only=True):
    """A Secret's keys as files."""

    secret_name: str
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool | None = None


class ConfigMapVolume(Value, frozen=True, kw_only=True):
    """A ConfigMap's keys as files."""

    name: str
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool | None = None


class DownwardVolume(Value, frozen=True, kw_only=True):
    """Fields of the pod as files."""

    items: tuple[DownwardFile, ...] = ()
    default_mode: int | None = None


class SecretProjection(Value, frozen=True, kw_only=True):
    """A Secret or ConfigMap as a part of a projected volume."""

    name: str
    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None


class TokenProjection(Value, frozen=True, kw_only=True):
    """A token of the pod's ServiceAccount as a file."""

    path: str
    audience: str | None = None
    expiration_seconds: int | None = None


class Projection(Value, frozen=True, kw_only=True):
    """One source of a projected volume."""

    secret: SecretProjection | None = None
    config_map: SecretProjection | None = None
    downward_api: DownwardVolume | None = msgspec.field(default=None, name="downwardAPI")
    service_account_token: TokenProjection | None = None


class ProjectedVolume(Value, frozen=True, kw_only=True):
    """Several sources in one folder."""

    sources: tuple[Projection, ...] = ()
    default_mode: int | None = None


class Volume(Value, frozen=True, kw_only=True):
    """Storage of a pod."""

    name: str
    empty_dir: dict[str, Any] | None = None
    host_path: dict[str, str] | None = None
    secret: SecretVolume | None = None
    config_map: ConfigMapVolume | None = None
    downward_api: DownwardVolume | None = msgspec.field(default=None, name="downwardAPI")
    projected: ProjectedVolume | None = None


class Container(Value, frozen=True, kw_only=True):
    """One process of a pod."""

    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str | None = None
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFromSource, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    resources: ResourceRequirements | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    restart_policy: str | None = None
    termination_message_path: str | None = None
    termination_message_policy: str | None = None
    volume_mounts: tuple[VolumeMount, ...] = ()
    security_context: SecurityContext | None = None
