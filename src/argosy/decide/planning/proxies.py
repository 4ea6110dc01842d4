"""A Gateway → the Envoys that serve it, which the gateway controller makes in the Gateway's own namespace.

Rules of this file:

- The objects belong to their Gateway and go with it; they carry the labels and annotations that it asks for.
- The template does not name listeners: Envoy learns them while it runs, so a new port replaces no pod.
- A Gateway that is not accepted keeps the Envoys that it has; so do all while nobody knows where the configuration
  is served.
- Where Envoys share an address there is one, and it is replaced, not doubled: its port has room for one listener.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

import msgspec
from msgspec.structs import replace

from argosy import __version__
from argosy.api.containers import Container, ContainerPort, EnvVar, PodSecurityContext
from argosy.api.gateway import Gateway, GatewayInfrastructure
from argosy.api.kubernetes import (
    Deployment,
    DeploymentSpec,
    DeploymentStrategy,
    LabelSelector,
    PodSpec,
    PodTemplateSpec,
    RollingUpdateDeployment,
    Service,
    ServiceAccount,
    ServicePort,
    ServiceSpec,
    TemplateMeta,
)
from argosy.api.names import COMPONENT, GATEWAY_LABEL, INSTANCE, MANAGED_BY, METRICS_PORT, PART_OF
from argosy.api.objects import Key, Object, ObjectMeta, OwnerReference
from argosy.api.policy import PodDisruptionBudget, PodDisruptionBudgetSpec
from argosy.decide.planning.changes import Change, changes, marked
from argosy.decide.planning.pods import (
    LAST_WORDS,
    LIVENESS_PERIOD_S,
    POD_IP,
    POD_NAME,
    UNPRIVILEGED,
    answering,
    resources,
    spread,
    stuck,
)
from argosy.decide.translation.bootstrap import Address, bootstrap, envoy_arguments
from argosy.decide.translation.infrastructure import (
    ADMIN_PORT,
    ANY_ADDRESS,
    HEADLESS,
    bound_ports,
    gateway_problem,
    label_of,
    proxy_name,
    served_ports,
    shares_address,
)

OWNER: Final = "argosy-gateway"
"""The value of `app.kubernetes.io/managed-by` on what the gateway controller makes, and its name as a writer."""
KINDS: Final = (PodDisruptionBudget, Deployment, Service, ServiceAccount)
"""What it makes for a Gateway, in the order of removal."""
IMAGE: Final = f"argosy/envoy:{__version__}"
DRAIN_S: Final = 120
"""As long as an engine may drain: answers stream through Envoy until their end."""
GRACE_S: Final = DRAIN_S + 10
ACCEPT_S: Final = 5
"""How long after its end has begun an Envoy still gets connections: so late may load balancers hear of it."""
STARTUP_FAILURES: Final = 600


class ProxySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How Envoys are run.

    `controller` is the Service that leads to the gateway controllers, `bind_address` is where Envoys listen;
    `replicas` counts where each has its own address, and `image` is what they run.
    """

    controller: Key
    bind_address: str = ANY_ADDRESS
    replicas: int = 2
    service_type: str = "LoadBalancer"
    image: str = IMAGE

    @property
    def alone(self) -> bool:
        """Whether a Gateway has one Envoy, since more would listen at the same address."""
        return shares_address(self.bind_address)


class ProxyPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The way to what all Gateways want, and by Gateway why nothing of it is changed."""

    changes: tuple[Change, ...] = ()
    obstacles: dict[Key, str] = {}


def proxy_plan(gateways: Iterable[Gateway], observed: Iterable[Object], settings: ProxySettings) -> ProxyPlan:
    """Plan the objects of all Gateways, and the end of those whose Gateway is gone.

    `gateways` are those of our classes, `observed` are objects of `KINDS`, whoever made them.
    """
    gateways, observed = tuple(gateways), tuple(observed)
    there = {(obj.KIND, obj.key): obj for obj in observed}
    controller = next((s for s in observed if isinstance(s, Service) and s.key == settings.controller), None)
    kept = {gateway.metadata.uid for gateway in gateways}
    wanted: dict[tuple[str, Key], Object] = {}
    obstacles: dict[Key, str] = {}
    for gateway in gateways:
        if controller is None or not _is_served(gateway):
            continue
        desired = {(obj.KIND, obj.key): marked(obj) for obj in proxy_objects(gateway, controller, settings)}
        strangers = [name for name in desired if name in there and not _belongs(there[name], gateway)]
        if strangers:
            kind, key = strangers[0]
            obstacles[gateway.key] = f"{kind} {key} is somebody else's; rename or remove it, or rename the Gateway"
        else:
            wanted |= desired
            kept.discard(gateway.metadata.uid)
    made = changes(wanted.values(), (there[name] for name in wanted if name in there))
    return ProxyPlan(changes=(*made, *_stray(observed, wanted, kept)), obstacles=obstacles)


def _stray(
    observed: tuple[Object, ...], wanted: Collection[tuple[str, Key]], kept: Collection[str | None]
) -> Iterator[Change]:
    """Give the removal of what is ours and nobody wants; Gateways of the uids `kept` keep what they have."""
    for kind in KINDS:
        for obj in sorted((obj for obj in observed if isinstance(obj, kind)), key=lambda obj: obj.key):
            owners = (owner.uid for owner in obj.metadata.owner_references)
            is_ours = obj.metadata.labels.get(MANAGED_BY) == OWNER
            if is_ours and (obj.KIND, obj.key) not in wanted and not any(uid in kept for uid in owners):
                yield Change(verb="delete", object=obj)


def _belongs(obj: Object, gateway: Gateway) -> bool:
    """Whether an object is the Gateway's or its predecessor's: it says so, or a hand has taken away that it did."""
    owners = [owner.uid for owner in obj.metadata.owner_references if owner.controller]
    return obj.metadata.labels.get(MANAGED_BY) == OWNER or owners == [gateway.metadata.uid]


def proxy_objects(gateway: Gateway, controller: Service, settings: ProxySettings) -> tuple[Object, ...]:
    """Give what stands for a Gateway, in the order of creation."""
    metadata = _metadata(gateway)
    replicas = 1 if settings.alone else settings.replicas
    selector = LabelSelector(match_labels=_selector(gateway))
    made: list[Object] = [
        ServiceAccount(metadata=metadata, automount_service_account_token=False),
        _service(gateway, settings),
        Deployment(metadata=metadata, spec=_deployment(gateway, controller, settings, replicas)),
    ]
    if replicas > 1:
        budget = PodDisruptionBudgetSpec(selector=selector, max_unavailable=1)
        made.append(PodDisruptionBudget(metadata=metadata, spec=budget))
    return tuple(made)


def _is_served(gateway: Gateway) -> bool:
    is_going = gateway.metadata.deletion_timestamp is not None
    return not is_going and gateway_problem(gateway) is None and bool(served_ports(gateway))


def _asked_for(gateway: Gateway) -> GatewayInfrastructure:
    return gateway.spec.infrastructure or GatewayInfrastructure()


def _labels(gateway: Gateway) -> dict[str, str]:
    return {
        **_asked_for(gateway).labels,
        MANAGED_BY: OWNER,
        PART_OF: "argosy",
        INSTANCE: proxy_name(gateway.metadata.name),
        **_selector(gateway),
    }


def _selector(gateway: Gateway) -> dict[str, str]:
    return {COMPONENT: "envoy", GATEWAY_LABEL: label_of(gateway.metadata.name)}


def _metadata(gateway: Gateway) -> ObjectMeta:
    owner = OwnerReference(
        api_version=gateway.API_VERSION,
        kind=gateway.KIND,
        name=gateway.metadata.name,
        uid=gateway.metadata.uid or "",
        controller=True,
    )
    return ObjectMeta(
        name=proxy_name(gateway.metadata.name),
        namespace=gateway.metadata.namespace,
        labels=_labels(gateway),
        annotations=_asked_for(gateway).annotations,
        owner_references=(owner,),
    )


def _service(gateway: Gateway, settings: ProxySettings) -> Service:
    bound = bound_ports(served_ports(gateway), bind_address=settings.bind_address)
    ports = tuple(
        ServicePort(name=f"http-{port}", port=port, target_port=bound[port], protocol="TCP") for port in bound
    )
    kind = "ClusterIP" if settings.alone else settings.service_type
    return Service(metadata=_metadata(gateway), spec=ServiceSpec(type=kind, selector=_selector(gateway), ports=ports))


def _deployment(gateway: Gateway, controller: Service, settings: ProxySettings, replicas: int) -> DeploymentSpec:
    selector = LabelSelector(match_labels=_selector(gateway))
    rolling = DeploymentStrategy(
        type="RollingUpdate", rolling_update=RollingUpdateDeployment(max_surge=1, max_unavailable=0)
    )
    return DeploymentSpec(
        replicas=replicas,
        selector=selector,
        strategy=DeploymentStrategy(type="Recreate") if settings.alone else rolling,
        revision_history_limit=2,
        template=PodTemplateSpec(
            metadata=TemplateMeta(labels=_labels(gateway), annotations=_asked_for(gateway).annotations),
            spec=PodSpec(
                containers=(_envoy(gateway, controller, settings),),
                service_account_name=proxy_name(gateway.metadata.name),
                automount_service_account_token=False,
                termination_grace_period_seconds=GRACE_S,
                security_context=PodSecurityContext(run_as_non_root=True, seccomp_profile={"type": "RuntimeDefault"}),
                topology_spread_constraints=spread(selector),
            ),
        ),
    )


def _envoy(gateway: Gateway, controller: Service, settings: ProxySettings) -> Container:
    config = bootstrap(
        gateway=str(gateway.key),
        node="$(POD_NAME)",
        xds=_address_of(controller),
        admin=Address(host="$(ADMIN_ADDRESS)", port=ADMIN_PORT),
        stats=Address(host="$(POD_IP)", port=METRICS_PORT),
    )
    return Container(
        name="envoy",
        image=settings.image,
        args=(*_ending(settings), "--", *envoy_arguments(config)),
        env=(POD_IP, POD_NAME, EnvVar(name="ADMIN_ADDRESS", value="127.0.0.1")),
        ports=(ContainerPort(name="metrics", container_port=METRICS_PORT),),
        resources=resources(cpu="250m", memory="128Mi"),
        # Ready once it has had a configuration, until it drains; alive for as long as its threads turn.
        startup_probe=replace(answering("/ready"), failure_threshold=STARTUP_FAILURES),
        readiness_probe=answering("/ready"),
        liveness_probe=stuck(answering("/healthz", every_s=LIVENESS_PERIOD_S)),
        termination_message_policy=LAST_WORDS,
        security_context=UNPRIVILEGED,
    )


def _ending(settings: ProxySettings) -> tuple[str, ...]:
    """Say how an Envoy ends; one that is alone has nothing in front that would send connections elsewhere."""
    accept_s = 0 if settings.alone else ACCEPT_S
    admin = f"$(ADMIN_ADDRESS):{ADMIN_PORT}"
    return ("--admin", admin, "--accept", str(accept_s), "--drain-timeout", str(DRAIN_S))


def _address_of(controller: Service) -> Address:
    """Give where a Service is reached from any namespace; without an address of its own, what a pod is told of it."""
    if controller.spec.cluster_ip not in (None, HEADLESS):
        return Address(host=controller.spec.cluster_ip, port=controller.spec.ports[0].port)
    prefix = controller.metadata.name.upper().replace("-", "_")
    return Address(host=f"$({prefix}_SERVICE_HOST)", port=f"$({prefix}_SERVICE_PORT)")
