"""The intermediate form between Gateway API objects and Envoy's resources: one plan for each Gateway."""

from collections.abc import Iterable, Sequence

import msgspec

from argosy.api.gateway import Gateway
from argosy.api.inference import InferencePool
from argosy.api.names import INPUT_HEADERS, InputName
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import PodIndex, pool_endpoints
from argosy.decide.routing.inputs import ALL_INPUTS
from argosy.decide.routing.table import RouteTable
from argosy.decide.translation.attachment import Attachment, listener_problem
from argosy.decide.translation.routes import attached_table
from argosy.decide.translation.trust import trusted_inputs, trusted_ports


class PortPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One port that Envoy listens on, and what is routed there. Listeners that differ by hostname share it.

    `trusted` says that the inputs of clients at this port are believed.
    """

    port: int
    table: RouteTable
    trusted: bool = False


class PoolPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A pool that some route leads to. `endpoints` are those that may get requests now.

    `trusted_inputs` are believed of whoever asks it.
    """

    pool: Key
    endpoints: tuple[Endpoint, ...]
    http2: bool
    trusted_inputs: frozenset[InputName] = frozenset()


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
    pods: PodIndex,
    pickers: tuple[Endpoint, ...],
) -> GatewayPlan:
    """Plan one Gateway."""
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
    trusted = trusted_ports(gateway)
    return tuple(
        PortPlan(
            port=port,
            table=attached_table(attached, pools, listeners=frozenset(by_port[port])),
            trusted=port in trusted,
        )
        for port in sorted(by_port)
    )


def stopped_headers(port: PortPlan, pools: Iterable[PoolPlan]) -> tuple[str, ...]:
    """Give the input headers that end at a port: those that neither it nor a pool behind it believes."""
    if port.trusted:
        return ()
    behind = {weighted.pool for entry in port.table.entries for weighted in entry.pools}
    wanted: frozenset[InputName] = frozenset[InputName]().union(
        *(each.trusted_inputs for each in pools if each.pool in behind)
    )
    return tuple(name for kind in INPUT_HEADERS if kind in ALL_INPUTS - wanted for name in INPUT_HEADERS[kind])


def listener_name(gateway: Key, port: int) -> str:
    """Name a port of a Gateway among those of all: the name by which Envoy tells the picker where a request came in."""
    return f"{gateway}/{port}"


def _pool_plan(pool: InferencePool, pods: PodIndex) -> PoolPlan:
    return PoolPlan(
        pool=pool.key,
        endpoints=tuple(found.endpoint for found in pool_endpoints(pool, pods) if found.ready and found.answers),
        http2=pool.spec.app_protocol == "kubernetes.io/h2c",
        trusted_inputs=trusted_inputs(pool),
    )
