"""What the picker knows of the cluster: routes of its gateways, listener by listener, and their pools' endpoints."""

from collections.abc import Iterable, Mapping
from itertools import chain

import msgspec

from argosy.api.gateway import Gateway, GatewayClass, HTTPRoute
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod
from argosy.api.names import SERVICE_LABEL
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import PoolEndpoint, pool_endpoints
from argosy.decide.routing.match import Matcher
from argosy.decide.routing.table import RouteTable
from argosy.decide.translation.attachment import attachments, our_gateways
from argosy.decide.translation.plan import listener_name, port_plans


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    """A pool, the service that it belongs to, and its endpoints, ready or not."""

    service: str
    endpoints: tuple[PoolEndpoint, ...]


class World(msgspec.Struct, frozen=True, kw_only=True):
    """One state of the cluster. `matcher` takes the routes of all listeners together."""

    matcher: Matcher
    by_listener: Mapping[str, Matcher]
    pools: Mapping[Key, PoolView]

    def matcher_of(self, listener: str) -> Matcher:
        """Give the routes of a listener; of all of them for one that is not named or not known yet."""
        return self.by_listener.get(listener, self.matcher)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of models that some route leads to."""
        return self.matcher.models

    @property
    def ready_endpoints(self) -> frozenset[Endpoint]:
        """Every endpoint of every pool that may get requests."""
        return frozenset(e.endpoint for pool in self.pools.values() for e in pool.endpoints if e.ready)

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """Every endpoint of every pool."""
        return frozenset(e.endpoint for pool in self.pools.values() for e in pool.endpoints)


EMPTY = World(matcher=Matcher(RouteTable()), by_listener={}, pools={})


def world_of(
    classes: Iterable[GatewayClass],
    gateways: Iterable[Gateway],
    routes: Iterable[HTTPRoute],
    pools: Iterable[InferencePool],
    pods: Iterable[Pod],
) -> World:
    """Give the state that these objects describe; tables of several listeners follow each other in order of name."""
    routes, pools, pods = tuple(routes), tuple(pools), tuple(pods)
    known = frozenset(pool.key for pool in pools)
    tables = {
        listener_name(gateway.key, port.port): port.table
        for gateway in our_gateways(classes, gateways)
        for port in port_plans(gateway, tuple(attachments(gateway, routes)), known)
    }
    return World(
        matcher=Matcher(RouteTable(entries=tuple(chain.from_iterable(t.entries for t in tables.values())))),
        by_listener={name: Matcher(table) for name, table in tables.items()},
        pools={
            pool.key: PoolView(
                service=pool.spec.selector.match_labels.get(SERVICE_LABEL, pool.metadata.name),
                endpoints=pool_endpoints(pool, pods),
            )
            for pool in pools
        },
    )
