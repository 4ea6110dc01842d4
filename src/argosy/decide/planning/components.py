"""The installation's processes as Deployments, each with its Service and what protects it.

Rules of this file:

- Processes get addresses as `$(NAME)` in their arguments, which the kubelet and the local runner replace alike; where
  the object store is, they learn from their surroundings.
- Images start the right program by themselves; arguments only say with what.
- On a laptop there is one of each, in plain text on loopback. On a cluster the pickers serve TLS with the certificate
  that the operator keeps in a Secret; their pods, and the gateways', wait until it is there.
- On a laptop gateways are replaced, not doubled: a port of one machine has room for one listener.
"""

from typing import Final, Literal

import msgspec

from argosy import __version__
from argosy.api.containers import (
    ConfigMapVolume,
    Container,
    ContainerPort,
    EnvVar,
    KeyToPath,
    PodSecurityContext,
    SecretVolume,
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
    Service,
    ServicePort,
    ServiceSpec,
    TemplateMeta,
)
from argosy.api.names import COMPONENT, INSTANCE, METRICS_PORT, PICKER_PORT, XDS_PORT
from argosy.api.objects import Object, ObjectMeta
from argosy.api.policy import PodDisruptionBudget, PodDisruptionBudgetSpec
from argosy.decide.planning.access import PICKER_TLS, RIGHTS, access
from argosy.decide.planning.pods import (
    LAST_WORDS,
    LIVENESS_PERIOD_S,
    POD_IP,
    POD_NAME,
    UNPRIVILEGED,
    answering,
    image_at,
    listening,
    resources,
    spread,
    starting,
    stuck,
)
from argosy.decide.planning.reachability import API_SERVER_PORTS

OPERATOR_IMAGE: Final = f"argosy/operator:{__version__}"
GATEWAY_IMAGE: Final = f"argosy/gateway:{__version__}"
PICKER_IMAGE: Final = f"argosy/picker:{__version__}"
TLS_FOLDER: Final = "/etc/argosy/tls"
CA_FOLDER: Final = "/etc/argosy/picker"
SCHEDULING: Final = "argosy-scheduling"
"""The ConfigMap that says how pickers schedule, if there is one, under this key."""
SCHEDULING_KEY: Final = "scheduling.yaml"
SCHEDULING_FOLDER: Final = "/etc/argosy/scheduling"
DECISIONS_FOLDER: Final = "/var/lib/argosy"
DECISIONS_FILE: Final = f"{DECISIONS_FOLDER}/decisions.jsonl"
DECISIONS: Final = Volume(name="decisions", empty_dir={"sizeLimit": "128Mi"})
"""Twice what a picker writes at most: a pod that outgrows it would be evicted."""
DECISIONS_MOUNT: Final = VolumeMount(name=DECISIONS.name, mount_path=DECISIONS_FOLDER)
ServiceType = Literal["LoadBalancer", "NodePort", "ClusterIP"]


class OnCluster(msgspec.Struct, frozen=True, kw_only=True):
    """How an installation stands on a cluster.

    `replicas` counts operators, gateways, pickers, and the Envoys of each Gateway. `service_type` is that of the
    Service before a Gateway's Envoys. `image_registry` comes before the names of images. `api_server_ports` are those
    that network policies let pods reach the API server at. `collector` is the URL of an OpenTelemetry collector, empty
    for none, and `traced_share` the share of requests without a trace that begin one. Of `decisions_share` of all
    requests pickers write their decisions to a file.
    """

    replicas: int = 2
    service_type: ServiceType = "LoadBalancer"
    image_registry: str = ""
    api_server_ports: tuple[int, ...] = API_SERVER_PORTS
    collector: str = ""
    traced_share: float = 1.0
    decisions_share: float = 0.0

    def image(self, name: str) -> str:
        """Give an image's name with its registry."""
        return image_at(self.image_registry, name)


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """One Deployment of one container, and its Service. `ports` are by name, the Service's first one first."""

    container: Container
    ports: dict[str, int]
    volumes: tuple[Volume, ...] = ()
    alone_on_laptop: bool = False

    @property
    def name(self) -> str:
        """The name of its objects."""
        return f"argosy-{self.container.name}"


def components(place: OnCluster | None) -> tuple[Component, ...]:
    """Give the installation's processes on a cluster, or, without one, on a laptop, whose supervisor operates."""
    return (*((_operator(place),) if place else ()), _gateway(place), _picker(place))


def component_objects(component: Component, metadata: ObjectMeta, place: OnCluster | None) -> tuple[Object, ...]:
    """Give what a component is made of, in the order of creation; `metadata` is that of all of it."""
    made = (_service(component, metadata), _deployment(component, metadata, place))
    if place is None:
        return made
    budget = PodDisruptionBudgetSpec(selector=_selector(component), max_unavailable=1)
    rights = access(RIGHTS[component.container.name], metadata)
    return (*rights, *made, PodDisruptionBudget(metadata=metadata, spec=budget))


def _operator(place: OnCluster) -> Component:
    container = Container(
        name="operator",
        image=place.image(OPERATOR_IMAGE),
        args=("--metrics-address", f"$(POD_IP):{METRICS_PORT}", *_registry(place)),
        env=(POD_IP, POD_NAME),
        resources=resources(cpu="100m", memory="128Mi"),
        startup_probe=starting(answering("/healthz")),
        readiness_probe=answering("/readyz"),
        liveness_probe=stuck(answering("/healthz", every_s=LIVENESS_PERIOD_S)),
    )
    return Component(container=container, ports={"metrics": METRICS_PORT})


def _gateway(place: OnCluster | None) -> Component:
    container = Container(
        name="gateway",
        image=place.image(GATEWAY_IMAGE) if place else GATEWAY_IMAGE,
        args=("--xds-address", f"$(POD_IP):{XDS_PORT}"),
        env=(POD_IP,),
        resources=resources(cpu="100m", memory="128Mi"),
        startup_probe=starting(listening("xds")),
        readiness_probe=listening("xds"),
        liveness_probe=listening("xds", every_s=LIVENESS_PERIOD_S),
    )
    volumes: tuple[Volume, ...] = ()
    if place:
        proxies = ("--envoy-replicas", str(place.replicas), "--service-type", place.service_type, *_registry(place))
        authority, mount = _secret("picker", CA_FOLDER, "ca.crt")
        volumes = (authority,)
        container = msgspec.structs.replace(
            container,
            args=(*container.args, "--picker-ca", f"{CA_FOLDER}/ca.crt", *proxies),
            env=(POD_IP, POD_NAME, *_traced(place)),
            volume_mounts=(mount,),
        )
    return Component(container=container, ports={"xds": XDS_PORT}, volumes=volumes, alone_on_laptop=True)


def _picker(place: OnCluster | None) -> Component:
    container = Container(
        name="picker",
        image=place.image(PICKER_IMAGE) if place else PICKER_IMAGE,
        args=("--address", f"$(POD_IP):{PICKER_PORT}", "--metrics-address", f"$(POD_IP):{METRICS_PORT}"),
        env=(POD_IP,),
        resources=resources(cpu="250m", memory="128Mi"),
        startup_probe=starting(answering("/healthz")),
        readiness_probe=answering("/readyz"),
        liveness_probe=stuck(answering("/healthz", every_s=LIVENESS_PERIOD_S)),
    )
    volumes: tuple[Volume, ...] = ()
    if place:
        pair, mount = _secret("tls", TLS_FOLDER, "tls.crt", "tls.key")
        scheduling = Volume(name="scheduling", config_map=ConfigMapVolume(name=SCHEDULING, optional=True))
        volumes = (pair, scheduling, *((DECISIONS,) if place.decisions_share else ()))
        container = msgspec.structs.replace(
            container,
            args=(
                *(*container.args, "--tls-dir", TLS_FOLDER),
                *("--scheduling", f"{SCHEDULING_FOLDER}/{SCHEDULING_KEY}"),
                *_decisions(place),
            ),
            env=(POD_IP, *_traced(place)),
            volume_mounts=(
                mount,
                VolumeMount(name=scheduling.name, mount_path=SCHEDULING_FOLDER, read_only=True),
                *((DECISIONS_MOUNT,) if place.decisions_share else ()),
            ),
        )
    return Component(container=container, ports={"ext-proc": PICKER_PORT, "metrics": METRICS_PORT}, volumes=volumes)


def _traced(place: OnCluster) -> tuple[EnvVar, ...]:
    """Tell a process where spans are sent, in OpenTelemetry's own words."""
    if not place.collector:
        return ()
    return (
        EnvVar(name="OTEL_EXPORTER_OTLP_ENDPOINT", value=place.collector),
        EnvVar(name="OTEL_TRACES_SAMPLER", value="parentbased_traceidratio"),
        EnvVar(name="OTEL_TRACES_SAMPLER_ARG", value=f"{place.traced_share:g}"),
    )


def _decisions(place: OnCluster) -> tuple[str, ...]:
    """Tell a picker to write decisions to a file."""
    if not place.decisions_share:
        return ()
    return ("--decisions-file", DECISIONS_FILE, "--decisions-sample", f"{place.decisions_share:g}")


def _registry(place: OnCluster) -> tuple[str, ...]:
    """Tell a process that names images itself where they are."""
    return ("--image-registry", place.image_registry.rstrip("/")) if place.image_registry else ()


def _secret(name: str, folder: str, *keys: str) -> tuple[Volume, VolumeMount]:
    """Give the volume of these keys of the pickers' Secret, and its mount."""
    items = tuple(KeyToPath(key=key, path=key) for key in keys)
    return (
        Volume(name=name, secret=SecretVolume(secret_name=PICKER_TLS, items=items)),
        VolumeMount(name=name, mount_path=folder, read_only=True),
    )


def _selector(component: Component) -> LabelSelector:
    return LabelSelector(match_labels={INSTANCE: component.name})


def _service(component: Component, metadata: ObjectMeta) -> Service:
    ports = tuple(ServicePort(name=name, port=port, target_port=name) for name, port in component.ports.items())
    return Service(metadata=metadata, spec=ServiceSpec(selector=_selector(component).match_labels, ports=ports))


def _deployment(component: Component, metadata: ObjectMeta, place: OnCluster | None) -> Deployment:
    rolling = DeploymentStrategy(
        type="RollingUpdate", rolling_update=RollingUpdateDeployment(max_surge=1, max_unavailable=0)
    )
    recreated = place is None and component.alone_on_laptop
    return Deployment(
        metadata=metadata,
        spec=DeploymentSpec(
            replicas=place.replicas if place else 1,
            selector=_selector(component),
            strategy=DeploymentStrategy(type="Recreate") if recreated else rolling,
            revision_history_limit=2,
            template=PodTemplateSpec(
                metadata=TemplateMeta(labels={**metadata.labels, COMPONENT: component.container.name}),
                spec=_pod(component, metadata.name, place),
            ),
        ),
    )


def _pod(component: Component, account: str, place: OnCluster | None) -> PodSpec:
    container = msgspec.structs.replace(
        component.container,
        ports=tuple(ContainerPort(name=name, container_port=port) for name, port in component.ports.items()),
        termination_message_policy=LAST_WORDS,
        security_context=UNPRIVILEGED,
    )
    pod = PodSpec(containers=(container,), termination_grace_period_seconds=30)
    if place is None:
        return pod
    on_cluster: PodSpec = msgspec.structs.replace(
        pod,
        service_account_name=account,
        automount_service_account_token=True,
        security_context=PodSecurityContext(run_as_non_root=True, seccomp_profile={"type": "RuntimeDefault"}),
        topology_spread_constraints=spread(_selector(component)),
        volumes=component.volumes,
    )
    return on_cluster
