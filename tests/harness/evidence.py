"""Parts of a fleet that serves, for tests that take something away: service, pods, pool, route, Gateway."""

from typing import Any

from msgspec.structs import replace

from argosy.api.containers import Container, ResourceRequirements
from argosy.api.gateway import (
    Gateway,
    GatewayAddress,
    GatewayClass,
    GatewayClassSpec,
    GatewaySpec,
    GatewayStatus,
    HTTPRoute,
    HTTPRouteSpec,
    HTTPRouteStatus,
    Listener,
    ListenerStatus,
    ParentReference,
    RouteParentStatus,
)
from argosy.api.inference import InferencePool, InferencePoolSpec, InferencePoolStatus, PoolParentStatus, TargetPort
from argosy.api.kubernetes import (
    ContainerStatus,
    Deployment,
    DeploymentStatus,
    LabelSelector,
    Pod,
    PodSpec,
    PodStatus,
)
from argosy.api.llmservice import LLMService, LLMServiceStatus
from argosy.api.names import COMPONENT, CONTROLLER_NAME, SERVICE_LABEL
from argosy.api.objects import Condition, ObjectMeta
from argosy.decide.planning.plan import plan
from argosy.decide.planning.way_troubles import Way
from harness.specs import service

SPEC = GatewaySpec(gateway_class_name="argosy", listeners=(Listener(name="http", port=8080, protocol="HTTP"),))
CLASS = GatewayClass(metadata=ObjectMeta(name="argosy"), spec=GatewayClassSpec(controller_name=CONTROLLER_NAME))
META = ObjectMeta(name="m", namespace="default")


def said(type_: str, status: str = "True", reason: str = "r", message: str = "It is said.") -> Condition:
    return Condition(type=type_, status=status, reason=reason, message=message)


def served(*conditions: Condition, generation: int = 1, **metadata: Any) -> LLMService:
    one = service(uid="u")
    status = LLMServiceStatus(observed_generation=1, conditions=conditions or (said("Planned"),))
    return replace(one, metadata=replace(one.metadata, generation=generation, **metadata), status=status)


def pod(name: str = "m-0", **changed: Any) -> Pod:
    """A pod that is ready, unless something of it is changed."""
    fields: dict[str, Any] = {
        "ready": True, "node": "n", "phase": "Running", "conditions": (said("Ready"),), "message": None, "inits": (),
        "leaving": False, "labels": {SERVICE_LABEL: "m"}, "namespace": "default", **changed,
    }  # fmt: skip
    state = {key: fields[key] for key in ("state", "last_state", "restart_count", "started") if key in fields}
    container = ContainerStatus(**{"name": "engine", "ready": fields["ready"], "restart_count": 0, **state})
    limits = ResourceRequirements(limits={"memory": "1Gi"})
    return Pod(
        metadata=ObjectMeta(
            name=name,
            namespace=fields["namespace"],
            labels=fields["labels"],
            deletion_timestamp="t" if fields["leaving"] else None,
        ),
        spec=PodSpec(
            containers=(
                Container(name="side", image="x"),
                Container(name="engine", image="argosy/engine:1", resources=limits),
            ),
            node_name=fields["node"],
        ),
        status=PodStatus(
            phase=fields["phase"],
            message=fields["message"],
            conditions=fields["conditions"] if fields["ready"] or fields["conditions"] != (said("Ready"),) else (),
            init_container_statuses=fields["inits"],
            container_statuses=() if fields.get("bare") else (container,),
        ),
    )


def component(name: str, **changed: Any) -> Pod:
    return pod(f"argosy-{name}", labels={COMPONENT: name}, namespace="argosy-system", **changed)


def pool(*conditions: Condition, **labels: str) -> InferencePool:
    parent = PoolParentStatus(parent_ref=ParentReference(name="argosy"), conditions=conditions)
    spec = InferencePoolSpec(
        selector=LabelSelector(match_labels=labels or {SERVICE_LABEL: "m"}), target_ports=(TargetPort(number=1),)
    )
    return InferencePool(metadata=META, spec=spec, status=InferencePoolStatus(parents=(parent,)))


def route(*conditions: Condition, controller: str = CONTROLLER_NAME) -> HTTPRoute:
    parent = RouteParentStatus(
        parent_ref=ParentReference(name="argosy"), controller_name=controller, conditions=conditions
    )
    return HTTPRoute(metadata=META, spec=HTTPRouteSpec(), status=HTTPRouteStatus(parents=(parent,)))


def gateway(*conditions: Condition, listener: Condition | None = None, address: str = "10.0.0.9") -> Gateway:
    listeners = (ListenerStatus(name="http", attached_routes=1, supported_kinds=(), conditions=(listener,)),)
    return Gateway(
        metadata=ObjectMeta(name="argosy", namespace="argosy-system"),
        spec=SPEC,
        status=GatewayStatus(
            addresses=(GatewayAddress(value=address),) if address else (),
            conditions=conditions,
            listeners=listeners if listener else (),
        ),
    )


PROGRAMMED = gateway(said("Accepted"), said("Programmed"))
WAY = Way(
    gateway=PROGRAMMED,
    gateway_class=CLASS,
    system=(component("envoy"), component("picker"), component("operator")),
    route=route(said("Accepted"), said("ResolvedRefs")),
    pool=pool(said("Accepted")),
)


def made(**changed: Any) -> Deployment:
    found = next(o for o in plan([service()]).objects if isinstance(o, Deployment) and o.metadata.name == "m")
    spec = replace(found.spec, replicas=changed.pop("replicas", 1))
    return replace(found, spec=spec, status=DeploymentStatus(**changed))
