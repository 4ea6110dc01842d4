"""Objects of services, as planning makes them, for tests that need a cluster and no processes."""

from collections.abc import Iterable

from argosy.api.containers import Container
from argosy.api.gateway import (
    AllowedRoutes,
    BackendRef,
    Gateway,
    GatewayClass,
    GatewayClassSpec,
    GatewaySpec,
    HeaderMatch,
    HTTPRoute,
    HTTPRouteSpec,
    Listener,
    ParentReference,
    RouteMatch,
    RouteNamespaces,
    RouteRule,
)
from argosy.api.inference import GROUP, InferenceModelRewrite, InferencePool, InferencePoolSpec, TargetPort
from argosy.api.kubernetes import LabelSelector, Pod, PodSpec, PodStatus
from argosy.api.names import CONTROLLER_NAME, GATEWAY_CLASS, MODEL_HEADER, SERVICE_LABEL, SYSTEM_NAMESPACE
from argosy.api.objects import Condition, Object, ObjectMeta, decode


def gateway_class(name: str = GATEWAY_CLASS, *, controller: str = CONTROLLER_NAME) -> GatewayClass:
    """Give the installation's GatewayClass."""
    return GatewayClass(metadata=ObjectMeta(name=name), spec=GatewayClassSpec(controller_name=controller))


def gateway(name: str = "argosy", *, ports: Iterable[int] = (8080,)) -> Gateway:
    """Give the installation's Gateway; its listeners are named `on-PORT`."""
    everywhere = AllowedRoutes(namespaces=RouteNamespaces(from_="All"))
    listeners = tuple(
        Listener(name=f"on-{port}", port=port, protocol="HTTP", allowed_routes=everywhere) for port in ports
    )
    return Gateway(
        metadata=ObjectMeta(name=name, namespace=SYSTEM_NAMESPACE),
        spec=GatewaySpec(gateway_class_name=GATEWAY_CLASS, listeners=listeners),
    )


def route(name: str, model: str, *, pool: str | None = None) -> HTTPRoute:
    """Give the HTTPRoute of a service: its model to its pool."""
    match = RouteMatch(headers=(HeaderMatch(name=MODEL_HEADER, value=model),))
    backend = BackendRef(name=pool or name, group=GROUP, kind="InferencePool")
    return HTTPRoute(
        metadata=ObjectMeta(name=name, namespace="default"),
        spec=HTTPRouteSpec(
            parent_refs=(ParentReference(name="argosy", namespace=SYSTEM_NAMESPACE),),
            rules=(RouteRule(matches=(match,), backend_refs=(backend,)),),
        ),
    )


def pool(name: str, *ports: int) -> InferencePool:
    """Give the InferencePool of a service; each port of each pod is an endpoint."""
    return InferencePool(
        metadata=ObjectMeta(name=name, namespace="default"),
        spec=InferencePoolSpec(
            selector=LabelSelector(match_labels={SERVICE_LABEL: name}),
            target_ports=tuple(TargetPort(number=port) for port in ports or (8000,)),
        ),
    )


def rewrite(
    name: str, pool: str, *rules: tuple[Iterable[str], Iterable[str | tuple[str, int]]], created: str = ""
) -> InferenceModelRewrite:
    """Give a rewrite of a pool's models: each rule has the models that it is for, and targets, some with a weight."""
    written = [
        {
            "matches": [{"model": {"value": model}} for model in models],
            "targets": [
                {"modelRewrite": each} if isinstance(each, str) else {"modelRewrite": each[0], "weight": each[1]}
                for each in targets
            ],
        }
        for models, targets in rules
    ]
    metadata = {"namespace": "default", "name": name, "creationTimestamp": created or None}
    return decode(InferenceModelRewrite, {"metadata": metadata, "spec": {"poolRef": {"name": pool}, "rules": written}})


def pod(service: str, address: str, *, ready: bool = True, **labels: str) -> Pod:
    """Give a running pod of a service; `labels` are more of its own."""
    name = f"{service}-{address.replace('.', '-')}"
    return Pod(
        metadata=ObjectMeta(name=name, namespace="default", labels={SERVICE_LABEL: service, **labels}),
        spec=PodSpec(containers=(Container(name="engine", image="engine"),)),
        status=PodStatus(
            phase="Running",
            pod_ip=address,
            conditions=(Condition(type="Ready", status=str(ready), reason="Test"),),
        ),
    )


def service(name: str, addresses: Iterable[str], *, model: str | None = None, port: int = 8000) -> list[Object]:
    """Give a whole service: route, pool and one ready pod for each address."""
    pods = [pod(name, address) for address in addresses]
    return [route(name, model or name), pool(name, port), *pods]
