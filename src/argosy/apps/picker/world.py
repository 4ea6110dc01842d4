"""What the picker knows of the cluster: routes of its gateways, and the endpoints of their pools."""

from collections.abc import Iterable, Mapping
from itertools import chain

import msgspec

from argosy.api.gateway import Gateway, HTTPRoute
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod
from argosy.api.names import GATEWAY_CLASS, SERVICE_LABEL
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import PoolEndpoint, pool_endpoints
from argosy.decide.routing.match import Matcher
from argosy.decide.routing.table import RouteTable
from argosy.decide.translation.routes import route_table


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    """A pool, the service that it belongs to, and its endpoints, ready or not."""

    service: str
    endpoints: tuple[PoolEndpoint, ...]


class World(msgspec.Struct, frozen=True, kw_only=True):
    """One state of the cluster. `models` are those that some route leads to."""

    matcher: Matcher
    models: tuple[str, ...]
    pools: Mapping[Key, PoolView]

    @property
    def ready_endpoints(self) -> frozenset[Endpoint]:
        """Every endpoint of every pool that may get requests."""
        return frozenset(e.endpoint for pool in self.pools.values() for e in pool.endpoints if e.ready)

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """Every endpoint of every pool."""
        return frozenset(e.endpoint for pool in self.pools.values() for e in pool.endpoints)


EMPTY = World(matcher=Matcher(RouteTable()), models=(), pools={})


def world_of(
    gateways: Iterable[Gateway], routes: Iterable[HTTPRoute], pools: Iterable[InferencePool], pods: Iterable[Pod]
) -> World:
    """Give the state that these objects describe; tables of several gateways follow each other in order of name."""
    routes, pools, pods = tuple(routes), tuple(pools), tuple(pods)
    ours = sorted((g for g in gateways if g.spec.gateway_class_name == GATEWAY_CLASS), key=lambda g: g.key)
    tables = [route_table(gateway, routes, pools) for gateway in ours]
    table = RouteTable(entries=tuple(chain.from_iterable(t.entries for t in tables)))
    return World(
        matcher=Matcher(table),
        models=table.models,
        pools={
            pool.key: PoolView(
                service=pool.spec.selector.match_labels.get(SERVICE_LABEL, pool.metadata.name),
                endpoints=pool_endpoints(pool, pods),
            )
            for pool in pools
        },
    )
