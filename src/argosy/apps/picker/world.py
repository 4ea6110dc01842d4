"""What the picker knows of the cluster: routes of its gateways, listener by listener, and their pools' endpoints."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import msgspec
from msgspec.structs import replace

from argosy.api.disaggregation import Disaggregation, disaggregation_of
from argosy.api.gateway import Gateway, GatewayClass, HTTPRoute
from argosy.api.inference import InferenceModelRewrite, InferencePool
from argosy.api.kubernetes import Pod
from argosy.api.names import SERVICE_LABEL, InputName
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import PodIndex, PoolEndpoint, pool_endpoints
from argosy.decide.routing.inputs import ALL_INPUTS
from argosy.decide.routing.match import Matcher
from argosy.decide.routing.rewrites import NONE, Rewrites
from argosy.decide.routing.table import RouteTable
from argosy.decide.translation.attachment import Attachment, attachments, our_gateways
from argosy.decide.translation.pickers import names_shared_picker
from argosy.decide.translation.plan import listener_name, port_plans
from argosy.decide.translation.routes import attached_table
from argosy.decide.translation.trust import trusted_inputs
from argosy.decide.translation.wellformed import valid_hostname
from argosy.engines.signals import Dialect, dialect_of


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    """A pool, the service that it belongs to, its endpoints, ready or not, and what it believes of everybody."""

    service: str
    endpoints: tuple[PoolEndpoint, ...]
    trusted_inputs: frozenset[InputName] = frozenset()
    disaggregation: Disaggregation | None = None
    """How its requests are split, where some of its workers compute prompts for others."""
    problem: str = ""
    """Why they are not, though somebody wants them to be."""
    moves_caches: bool = False
    """Whether its workers may hand KV caches over, so that no client may say where one is read."""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """One state of the cluster. `matcher` takes the routes of all our listeners together.

    Gateways of other makers name no listener: the routes of theirs come first under the empty name.
    `trusted` are the names of listeners whose clients' inputs are believed.
    """

    matcher: Matcher
    by_listener: Mapping[str, Matcher]
    trusted: frozenset[str] = frozenset()
    pools: Mapping[Key, PoolView]
    rewrites: Rewrites = NONE
    dialects: Mapping[Endpoint, Dialect] = {}
    """How the engine of each endpoint calls its metrics."""
    named: Mapping[str, Endpoint] = {}
    """Every endpoint of every pool, by its name."""

    def matcher_of(self, listener: str) -> Matcher:
        """Give the routes of a listener; of all of ours for one that is not known yet."""
        return self.by_listener.get(listener, self.matcher)

    def inputs_believed(self, listener: str, pool: Key) -> frozenset[InputName]:
        """Give the inputs that are believed of a request; a listener that is not named or not known is not trusted."""
        return ALL_INPUTS if listener in self.trusted else self.pools[pool].trusted_inputs

    @property
    def models(self) -> tuple[str, ...]:
        """Names of models that some route leads to."""
        return self.matcher_of("").models

    @property
    def ready_endpoints(self) -> frozenset[Endpoint]:
        """Every endpoint of every pool that may get requests."""
        return frozenset(e.endpoint for pool in self.pools.values() for e in pool.endpoints if e.ready)

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """Every endpoint of every pool."""
        return frozenset(self.named.values())


EMPTY = World(matcher=Matcher(RouteTable()), by_listener={}, pools={})


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a state that pods do not change: they come and go more often than routes, and cost less."""

    matcher: Matcher
    by_listener: Mapping[str, Matcher]
    trusted: frozenset[str]
    rewrites: Rewrites = NONE


def world_of(
    classes: Iterable[GatewayClass],
    gateways: Iterable[Gateway],
    routes: Iterable[HTTPRoute],
    pools: Iterable[InferencePool],
    pods: Iterable[Pod],
    rewrites: Iterable[InferenceModelRewrite] = (),
) -> World:
    """Give the state that these objects describe."""
    pools = tuple(pools)
    return world_with(routing_of(classes, gateways, routes, pools, rewrites), pools, pods)


def routing_of(
    classes: Iterable[GatewayClass],
    gateways: Iterable[Gateway],
    routes: Iterable[HTTPRoute],
    pools: Iterable[InferencePool],
    rewrites: Iterable[InferenceModelRewrite] = (),
) -> Routing:
    """Give the routes of gateways; tables of several listeners follow each other in order of name."""
    routes, pools = tuple(routes), tuple(pools)
    known, ours = frozenset(pool.key for pool in pools), our_gateways(classes, gateways)
    ports = {
        listener_name(gateway.key, port.port): port
        for gateway in ours
        for port in port_plans(gateway, tuple(attachments(gateway, routes)), known)
    }
    entries = tuple(chain.from_iterable(port.table.entries for port in ports.values()))
    of_others = attached_table(
        _attached_elsewhere(routes, frozenset(gateway.key for gateway in ours)),
        frozenset(pool.key for pool in pools if names_shared_picker(pool)),
        listeners=frozenset(("",)),
    )
    leading = tuple(entry for entry in of_others.entries if entry.pools)
    return Routing(
        matcher=Matcher(RouteTable(entries=entries)),
        by_listener={
            "": Matcher(RouteTable(entries=(*leading, *entries))),
            **{name: Matcher(port.table) for name, port in ports.items()},
        },
        trusted=frozenset(name for name, port in ports.items() if port.trusted),
        rewrites=Rewrites(rewrites),
    )


def _attached_elsewhere(routes: Iterable[HTTPRoute], ours: frozenset[Key]) -> Iterator[Attachment]:
    """Give the routes of gateways of other makers, as far as one can tell without knowing their listeners."""
    for route in routes:
        for parent in route.spec.parent_refs:
            if Key(parent.namespace or route.key.namespace, parent.name) not in ours:
                hostnames = tuple(name for name in route.spec.hostnames or ("",) if not name or valid_hostname(name))
                yield Attachment(route=route, parent=parent, hostnames={"": hostnames})
                break


def world_with(routing: Routing, pools: Iterable[InferencePool], pods: Iterable[Pod]) -> World:
    """Give the state of routes, pools and pods."""
    index = PodIndex(pods)
    views = {pool.key: _view(pool, pool_endpoints(pool, index)) for pool in pools}
    everybody = [each for view in views.values() for each in view.endpoints]
    return World(
        matcher=routing.matcher,
        by_listener=routing.by_listener,
        trusted=routing.trusted,
        pools=views,
        rewrites=routing.rewrites,
        dialects={each.endpoint: dialect_of(each.labels) for each in everybody},
        named={str(each.endpoint): each.endpoint for each in everybody},
    )


def _view(pool: InferencePool, endpoints: tuple[PoolEndpoint, ...]) -> PoolView:
    said = disaggregation_of(pool)
    problem, policy = (said, None) if isinstance(said, str) else ("", _disaggregation(pool, said, endpoints))
    return PoolView(
        service=pool.spec.selector.match_labels.get(SERVICE_LABEL, pool.metadata.name),
        endpoints=endpoints,
        trusted_inputs=trusted_inputs(pool),
        disaggregation=policy,
        problem=problem,
        moves_caches=said is not None or any(each.decodes or each.prefills for each in endpoints),
    )


def _disaggregation(
    pool: InferencePool, policy: Disaggregation | None, endpoints: Sequence[PoolEndpoint]
) -> Disaggregation | None:
    """Give a pool's policy; one of somebody else's that has prefill workers, and says nothing, gets the defaults.

    A sidecar that stands beside decode workers runs the legs itself, whatever the policy says.
    """
    is_ours = SERVICE_LABEL in pool.spec.selector.match_labels
    if policy is None and not is_ours and any(not each.answers for each in endpoints):
        policy = Disaggregation()
    if policy is not None and any(each.has_sidecar for each in endpoints):
        policy = replace(policy, protocol="sidecar")
    return policy
