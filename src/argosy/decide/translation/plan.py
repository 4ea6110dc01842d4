"""The intermediate form between Gateway API objects and Envoy's resources: one plan for each Gateway."""

from collections.abc import Iterable, Sequence

import msgspec

from argosy.api.gateway import Gateway
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod, Service
from argosy.api.names import PICKER_PORT
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import pool_endpoints
from argosy.decide.routing.table import RouteTable
from argosy.decide.translation.attachment import Attachment, listener_problem
from argosy.decide.translation.routes import attached_table


class PortPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One port that Envoy listens on, and what is routed there. Listeners that differ by hostname share it."""

    port: int
    table: RouteTable


class PoolPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A pool that some route leads to. `endpoints` are those that may get requests now."""

    pool: Key
    endpoints: tuple[Endpoint, ...]
    http2: bool


class GatewayPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the Envoys of one Gateway do. The first picker is asked while it lives; the others stand by."""

    gateway: Key
    ports: tuple[PortPlan, ...]
    pools: tuple[PoolPlan, ...]
    pickers: tuple[Endpoint, ...]


def gateway_plan(
    gateway: Gateway,
    attached: Iterable[Attachment],
    pools: Iterable[InferencePool],
    pods: Iterable[Pod],
    pickers: tuple[Endpoint, ...],
) -> GatewayPlan:
    """Plan one Gateway."""
    pods = tuple(pods)
    by_key = {pool.key: pool for pool in pools}
    ports = port_plans(gateway, tuple(attached), frozenset(by_key))
    used = {weighted.pool for port in ports for entry in port.table.entries for weighted in entry.pools}
    return GatewayPlan(
        gateway=gateway.key,
        ports=ports,
        pools=tuple(_pool_plan(by_key[key], pods) for key in sorted(used)),
        pickers=pickers,
    )


def port_plans(gateway: Gateway, attached: Sequence[Attachment], pools: frozenset[Key]) -> tuple[PortPlan, ...]:
    """Plan the ports of a Gateway, in order; Envoy's routes and the picker's are both made from this."""
    by_port: dict[int, set[str]] = {}
    for listener in gateway.spec.listeners:
        if listener_problem(gateway, listener) is None:
            by_port.setdefault(listener.port, set()).add(listener.name)
    return tuple(
        PortPlan(port=port, table=attached_table(attached, pools, listeners=frozenset(by_port[port])))
        for port in sorted(by_port)
    )


def listener_name(gateway: Key, port: int) -> str:
    """Name a port of a Gateway among those of all: the name by which Envoy tells the picker where a request came in."""
    return f"{gateway}/{port}"


def picker_endpoints(service: Service | None, pods: Iterable[Pod]) -> tuple[Endpoint, ...]:
    """Give the ready pickers behind a Service, oldest first: the one that knows most is asked before the others."""
    if service is None or not service.spec.selector:
        return ()
    wanted = service.spec.selector.items()
    ready = [
        pod
        for pod in pods
        if pod.ready
        and pod.status.pod_ip is not None
        and pod.metadata.namespace == service.metadata.namespace
        and wanted <= pod.metadata.labels.items()
    ]
    ready.sort(key=lambda pod: (pod.metadata.creation_timestamp or "", pod.key))
    return tuple(Endpoint(pod.status.pod_ip or "", _target_port(service, pod)) for pod in ready)


def _target_port(service: Service, pod: Pod) -> int:
    """Follow the Service's ext_proc port to the pod's; a named target port is looked up in the pod."""
    target = next((port.target_port for port in service.spec.ports if port.port == PICKER_PORT), None)
    named = (port for container in pod.spec.containers for port in container.ports if port.name == target)
    if isinstance(target, str):
        return next((port.container_port for port in named), PICKER_PORT)
    return target or PICKER_PORT


def _pool_plan(pool: InferencePool, pods: Iterable[Pod]) -> PoolPlan:
    return PoolPlan(
        pool=pool.key,
        endpoints=tuple(found.endpoint for found in pool_endpoints(pool, pods) if found.ready),
        http2=pool.spec.app_protocol == "kubernetes.io/h2c",
    )
