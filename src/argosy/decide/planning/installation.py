"""What the installation owns: namespace, GatewayClass and Gateway, and the processes behind them.

Rules of this file:

- Processes get addresses as `$(NAME)` in their arguments, which the kubelet and the local runner replace alike; where
  the object store is, they learn from their surroundings.
- Images start the right program by themselves; arguments only say with what.
- Gateway and Envoy are replaced, not doubled: on one machine a port has room for one listener.
"""

from typing import Final

import msgspec

from argosy import __version__
from argosy.api.gateway import (
    AllowedRoutes,
    Gateway,
    GatewayClass,
    GatewayClassSpec,
    GatewaySpec,
    Listener,
    RouteNamespaces,
)
from argosy.api.kubernetes import (
    Container,
    ContainerPort,
    Deployment,
    DeploymentSpec,
    DeploymentStrategy,
    EnvVar,
    EnvVarSource,
    FieldRef,
    HTTPGetAction,
    LabelSelector,
    Namespace,
    PodSpec,
    PodTemplateSpec,
    Probe,
    ResourceRequirements,
    Service,
    ServicePort,
    ServiceSpec,
    TCPSocketAction,
    TemplateMeta,
)
from argosy.api.names import (
    COMPONENT,
    CONTROLLER_NAME,
    GATEWAY_CLASS,
    GATEWAY_PORT,
    INSTANCE,
    MANAGED_BY,
    METRICS_PORT,
    PART_OF,
    PICKER_PORT,
    SYSTEM_NAMESPACE,
    XDS_PORT,
)
from argosy.api.objects import Object, ObjectMeta
from argosy.decide.planning.pods import OWNER, POD_IP, UNPRIVILEGED
from argosy.decide.translation.bootstrap import Address, bootstrap, envoy_arguments

GATEWAY_NAME: Final = "argosy"
GATEWAY_IMAGE: Final = f"argosy/gateway:{__version__}"
PICKER_IMAGE: Final = f"argosy/picker:{__version__}"
ENVOY_IMAGE: Final = "envoyproxy/envoy:distroless-v1.40.0"
ADMIN_PORT: Final = 9901
ENVOY_STATS_PORT: Final = METRICS_PORT
STARTUP_FAILURES: Final = 600
STUCK_GRACE_S: Final = 5
ENVOY_GRACE_S: Final = 130
"""As long as an engine may drain: answers stream through Envoy until their end."""
READINESS_PERIOD_S: Final = 1
"""Short, because nothing is served before all of these are ready."""
LIVENESS_PERIOD_S: Final = 5
_POD_NAME: Final = EnvVar(name="POD_NAME", value_from=EnvVarSource(field_ref=FieldRef(field_path="metadata.name")))


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may choose of the installation. `port` is where the Gateway takes requests."""

    port: int = GATEWAY_PORT


class _Component(msgspec.Struct, frozen=True, kw_only=True):
    """One Deployment of one container, and its Service. `ports` are by name, the Service's first one first."""

    name: str
    container: Container
    ports: dict[str, int]
    recreate: bool
    grace_s: int = 30


def installation_objects(installation: Installation) -> tuple[Object, ...]:
    """Give the installation's objects, in the order of creation: Services first, since pods are told of them."""
    components = (_gateway(), _picker(), _envoy(installation))
    return (
        Namespace(metadata=ObjectMeta(name=SYSTEM_NAMESPACE, labels=_labels("argosy"))),
        GatewayClass(
            metadata=ObjectMeta(name=GATEWAY_CLASS, labels=_labels("argosy")),
            spec=GatewayClassSpec(controller_name=CONTROLLER_NAME, description="Envoy with Argosy's endpoint picker"),
        ),
        Gateway(metadata=_metadata(GATEWAY_NAME), spec=_gateway_spec(installation)),
        *(_service(component) for component in components),
        *(_deployment(component) for component in components),
    )


def _labels(name: str) -> dict[str, str]:
    return {MANAGED_BY: OWNER, PART_OF: "argosy", INSTANCE: name}


def _metadata(name: str) -> ObjectMeta:
    return ObjectMeta(name=name, namespace=SYSTEM_NAMESPACE, labels=_labels(name))


def _gateway_spec(installation: Installation) -> GatewaySpec:
    listener = Listener(
        name="http",
        port=installation.port,
        protocol="HTTP",
        allowed_routes=AllowedRoutes(namespaces=RouteNamespaces(from_="All")),
    )
    return GatewaySpec(gateway_class_name=GATEWAY_CLASS, listeners=(listener,))


def _gateway() -> _Component:
    container = Container(
        name="gateway",
        image=GATEWAY_IMAGE,
        args=("--xds-address", f"$(POD_IP):{XDS_PORT}"),
        env=(POD_IP,),
        resources=_resources(cpu="100m", memory="128Mi"),
        readiness_probe=_listening("xds"),
        liveness_probe=_listening("xds", every_s=LIVENESS_PERIOD_S),
    )
    return _Component(name="argosy-gateway", container=container, ports={"xds": XDS_PORT}, recreate=True)


def _picker() -> _Component:
    container = Container(
        name="picker",
        image=PICKER_IMAGE,
        args=("--address", f"$(POD_IP):{PICKER_PORT}", "--metrics-address", f"$(POD_IP):{METRICS_PORT}"),
        env=(POD_IP,),
        resources=_resources(cpu="250m", memory="128Mi"),
        readiness_probe=_answering("/readyz"),
        liveness_probe=_stuck(_answering("/healthz", every_s=LIVENESS_PERIOD_S)),
    )
    ports = {"ext-proc": PICKER_PORT, "metrics": METRICS_PORT}
    return _Component(name="argosy-picker", container=container, ports=ports, recreate=False)


def _envoy(installation: Installation) -> _Component:
    config = bootstrap(
        gateway=f"{SYSTEM_NAMESPACE}/{GATEWAY_NAME}",
        node="$(POD_NAME)",
        xds=Address(host="$(ARGOSY_GATEWAY_SERVICE_HOST)", port="$(ARGOSY_GATEWAY_SERVICE_PORT)"),
        admin=Address(host="$(ADMIN_ADDRESS)", port=ADMIN_PORT),
        stats=Address(host="$(POD_IP)", port=ENVOY_STATS_PORT),
    )
    container = Container(
        name="envoy",
        image=ENVOY_IMAGE,
        args=envoy_arguments(config),
        env=(POD_IP, _POD_NAME, EnvVar(name="ADMIN_ADDRESS", value="127.0.0.1")),
        resources=_resources(cpu="250m", memory="128Mi"),
        # Ready once it has had a configuration, and then for as long as its threads turn.
        startup_probe=msgspec.structs.replace(_answering("/ready"), failure_threshold=STARTUP_FAILURES),
        readiness_probe=_answering("/ready"),
        liveness_probe=_stuck(_answering("/ready", every_s=LIVENESS_PERIOD_S)),
    )
    ports = {"http": installation.port, "metrics": ENVOY_STATS_PORT}
    return _Component(name="argosy-envoy", container=container, ports=ports, recreate=True, grace_s=ENVOY_GRACE_S)


def _resources(*, cpu: str, memory: str) -> ResourceRequirements:
    """Give what a component needs; a limit of CPU would only add latency, one of memory stops a leak."""
    return ResourceRequirements(requests={"cpu": cpu, "memory": memory}, limits={"memory": "1Gi"})


def _answering(path: str, *, every_s: int = READINESS_PERIOD_S) -> Probe:
    return Probe(http_get=HTTPGetAction(path=path, port="metrics"), period_seconds=every_s, timeout_seconds=2)


def _listening(port: str, *, every_s: int = READINESS_PERIOD_S) -> Probe:
    return Probe(tcp_socket=TCPSocketAction(port=port), period_seconds=every_s, timeout_seconds=2)


def _stuck(probe: Probe) -> Probe:
    """Give a liveness probe whose victim is not waited for: it would not drain."""
    return msgspec.structs.replace(probe, termination_grace_period_seconds=STUCK_GRACE_S)


def _service(component: _Component) -> Service:
    ports = tuple(ServicePort(name=name, port=port, target_port=name) for name, port in component.ports.items())
    return Service(
        metadata=_metadata(component.name), spec=ServiceSpec(selector={INSTANCE: component.name}, ports=ports)
    )


def _deployment(component: _Component) -> Deployment:
    container = msgspec.structs.replace(
        component.container,
        ports=tuple(ContainerPort(name=name, container_port=port) for name, port in component.ports.items()),
        security_context=UNPRIVILEGED,
    )
    return Deployment(
        metadata=_metadata(component.name),
        spec=DeploymentSpec(
            replicas=1,
            selector=LabelSelector(match_labels={INSTANCE: component.name}),
            strategy=DeploymentStrategy(type="Recreate" if component.recreate else "RollingUpdate"),
            revision_history_limit=2,
            template=PodTemplateSpec(
                metadata=TemplateMeta(labels={**_labels(component.name), COMPONENT: container.name}),
                spec=PodSpec(containers=(container,), termination_grace_period_seconds=component.grace_s),
            ),
        ),
    )
