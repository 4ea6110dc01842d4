"""Statuses of GatewayClass, Gateway, HTTPRoute and InferencePool, as the Gateway API defines them.

Rules of this file:

- Conditions say what is wrong in one sentence, with the place and what to do.
- Entries that other controllers wrote in a route's or a pool's parents are kept as they are.

Sources: gateway.networking.k8s.io/v1 condition types and reasons; inference.networking.k8s.io/v1 InferencePool.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from argosy.api.gateway import (
    GROUP,
    ConditionsStatus,
    Gateway,
    GatewayAddress,
    GatewayClass,
    GatewayStatus,
    HTTPRoute,
    HTTPRouteStatus,
    Listener,
    ListenerStatus,
    ParentReference,
    RouteParentStatus,
)
from argosy.api.inference import InferencePool, InferencePoolStatus, PoolParentStatus
from argosy.api.names import CONTROLLER_NAME, PICKER_SERVICE
from argosy.api.objects import Condition, Key
from argosy.base.errors import Refused
from argosy.decide.translation.attachment import Attachment, listener_problem
from argosy.decide.translation.conditions import dated, fails, holds, judged
from argosy.decide.translation.infrastructure import gateway_problem
from argosy.decide.translation.pickers import names_shared_picker
from argosy.decide.translation.routes import RouteProblems, backend_key, route_problems
from argosy.decide.translation.trust import trust_problem

Published = TypeVar("Published", Gateway, HTTPRoute, InferencePool)
Parent = TypeVar("Parent", RouteParentStatus, PoolParentStatus)


class ProxyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one Envoy made of what it was sent.

    `accepted` is whether it has everything of the newest configuration in force; `refusal` is its complaint, empty
    """

    node: str
    accepted: bool
    refusal: str = ""


def class_status(of: GatewayClass, now: str) -> ConditionsStatus:
    """Accept a class of ours."""
    conditions = [holds("Accepted", generation=of.metadata.generation)]
    return ConditionsStatus(conditions=dated(conditions, of.status.conditions, now))


def gateway_status(
    gateway: Gateway,
    attached: Iterable[Attachment],
    proxies: Sequence[ProxyReport],
    *,
    addresses: tuple[GatewayAddress, ...],
    now: str,
) -> GatewayStatus:
    """Say whether a Gateway is valid and in force, and what became of its listeners."""
    problems = [(listener.name, listener_problem(gateway, listener)) for listener in gateway.spec.listeners]
    sentence = "; ".join(f"listener {name}: {problem.why}" for name, problem in problems if problem is not None)
    unusable = gateway_problem(gateway)
    if unusable is None and all(problem for _, problem in problems):
        unusable = Refused(by="ListenersNotValid", why=sentence or "there is no listener")
    accepted = judged("Accepted", unusable, generation=gateway.metadata.generation)
    if sentence and unusable is None:
        accepted = replace(accepted, reason="ListenersNotValid", message=sentence)
    distrust = trust_problem(gateway)
    if distrust and unusable is None:
        accepted = replace(accepted, message="; ".join(filter(None, (sentence, distrust))))
    invalid = None if unusable is None else Refused(by="Invalid", why=unusable.why)
    programmed = judged("Programmed", invalid or _unprogrammed(proxies), generation=gateway.metadata.generation)
    counts = _attached_routes(attached)
    before = {listener.name: listener.conditions for listener in gateway.status.listeners}
    return GatewayStatus(
        addresses=addresses,
        conditions=dated([accepted, programmed], gateway.status.conditions, now),
        listeners=tuple(
            ListenerStatus(
                name=listener.name,
                attached_routes=counts.get(listener.name, 0),
                supported_kinds=({"group": GROUP, "kind": "HTTPRoute"},),
                conditions=dated(
                    _listener_conditions(gateway, listener, programmed), before.get(listener.name, ()), now
                ),
            )
            for listener in gateway.spec.listeners
        ),
    )


def route_status(route: HTTPRoute, attached: Iterable[Attachment], pools: frozenset[Key], now: str) -> HTTPRouteStatus:
    """Say what each of our Gateways made of a route; `attached` are the route's own attachments."""
    others = _of_others(route.status.parents)
    before = {parent.parent_ref: parent.conditions for parent in route.status.parents if parent not in others}
    problems = route_problems(route, pools)
    ours = tuple(
        RouteParentStatus(
            parent_ref=attachment.parent,
            controller_name=CONTROLLER_NAME,
            conditions=dated(
                _route_conditions(route, attachment.refused, problems), before.get(attachment.parent, ()), now
            ),
        )
        for attachment in attached
    )
    return HTTPRouteStatus(parents=(*others, *ours))


def gateways_by_pool(attached: Iterable[Attachment]) -> Mapping[Key, Mapping[Key, bool]]:
    """Give, by pool, the Gateways that a route names to lead there, and whether such a route was accepted."""
    found: defaultdict[Key, dict[Key, bool]] = defaultdict(dict)
    for attachment in attached:
        gateway = Key(attachment.parent.namespace or attachment.route.key.namespace, attachment.parent.name)
        for pool in _pools_of(attachment.route):
            found[pool][gateway] = found[pool].get(gateway, False) or attachment.refused is None
    return found


def pool_status(
    pool: InferencePool, gateways: Iterable[Gateway], leading: Mapping[Key, bool], now: str
) -> InferencePoolStatus:
    """Say which of our Gateways lead to a pool; `leading` says by which of them a route was accepted."""
    others = _of_others(pool.status.parents)
    before = {
        Key(parent.parent_ref.namespace or "", parent.parent_ref.name): parent.conditions
        for parent in pool.status.parents
        if parent not in others
    }
    ours = tuple(
        PoolParentStatus(
            parent_ref=ParentReference(
                group=GROUP, kind="Gateway", name=gateway.metadata.name, namespace=gateway.metadata.namespace
            ),
            controller_name=CONTROLLER_NAME,
            conditions=dated(_pool_conditions(pool, accepted=leading[gateway.key]), before.get(gateway.key, ()), now),
        )
        for gateway in gateways
        if gateway.key in leading
    )
    return InferencePoolStatus(parents=(*others, *ours))


def withdrawn(obj: Published, now: str) -> Published:
    """Give an object with a status as it is before any gateway of ours has seen it: nothing of ours holds any more.

    A Gateway is taken to be one of ours.
    """
    match obj:
        case Gateway():
            pending = [
                Condition(type=kind, status="Unknown", reason="Pending", message="Waiting for controller")
                for kind in ("Accepted", "Programmed")
            ]
            return replace(obj, status=GatewayStatus(conditions=dated(pending, obj.status.conditions, now)))
        case HTTPRoute():
            return replace(obj, status=HTTPRouteStatus(parents=_of_others(obj.status.parents)))
        case _:
            return replace(obj, status=InferencePoolStatus(parents=_of_others(obj.status.parents)))


def _of_others(parents: Iterable[Parent]) -> tuple[Parent, ...]:
    return tuple(parent for parent in parents if parent.controller_name != CONTROLLER_NAME)


def _unprogrammed(proxies: Sequence[ProxyReport]) -> Refused | None:
    for proxy in proxies:
        if proxy.refusal:
            who = f"Envoy {proxy.node} refuses its configuration: " if proxy.node else ""
            return Refused(by="Invalid", why=f"{who}{proxy.refusal}")
    if not proxies:
        return Refused(by="Pending", why="no Envoy is connected")
    waiting = [proxy.node for proxy in proxies if not proxy.accepted]
    return Refused(by="Pending", why=f"Envoy {waiting[0]} has not taken its configuration yet") if waiting else None


def _listener_conditions(gateway: Gateway, listener: Listener, programmed: Condition) -> list[Condition]:
    generation = gateway.metadata.generation
    problem = listener_problem(gateway, listener)
    conflict = problem if problem is not None and problem.by == "HostnameConflict" else None
    conflicted = (
        holds("Conflicted", reason=conflict.by, message=conflict.why, generation=generation)
        if conflict
        else (fails("Conflicted", Refused(by="NoConflicts", why=""), generation=generation))
    )
    unusable = Refused(by="Invalid", why=problem.why) if problem is not None else None
    return [
        judged("Accepted", problem, generation=generation),
        conflicted,
        programmed if unusable is None else fails("Programmed", unusable, generation=generation),
        holds("ResolvedRefs", generation=generation),
    ]


def _route_conditions(route: HTTPRoute, refused: Refused | None, problems: RouteProblems) -> list[Condition]:
    generation = route.metadata.generation
    sentence = "; ".join(problem.why for problem in problems.dropped)
    nothing_left = Refused(by="UnsupportedValue", why=sentence) if sentence and not problems.kept else None
    conditions = [
        judged("Accepted", refused or nothing_left, generation=generation),
        judged("ResolvedRefs", next(iter(problems.references), None), generation=generation),
    ]
    if sentence and problems.kept:
        partly = Refused(by="UnsupportedValue", why=f"Dropped Rule: {sentence}")
        conditions.append(holds("PartiallyInvalid", reason=partly.by, message=partly.why, generation=generation))
    return conditions


def _attached_routes(attached: Iterable[Attachment]) -> dict[str, int]:
    routes: dict[str, set[Key]] = {}
    for attachment in attached:
        for name in attachment.hostnames:
            routes.setdefault(name, set()).add(attachment.route.key)
    return {name: len(keys) for name, keys in routes.items()}


def _pools_of(route: HTTPRoute) -> set[Key]:
    return {
        backend_key(ref, route)
        for rule in route.spec.rules
        for ref in rule.backend_refs
        if ref.kind == "InferencePool" and ref.namespace in (None, route.metadata.namespace)
    }


def _pool_conditions(pool: InferencePool, *, accepted: bool) -> list[Condition]:
    generation = pool.metadata.generation
    unrouted = None if accepted else Refused(by="HTTPRouteNotAccepted", why="no HTTPRoute to this pool is accepted")
    own_picker = pool.spec.endpoint_picker_ref
    picker = (
        Refused(
            by="InvalidExtensionRef",
            why=f"endpointPickerRef {own_picker.name} is not asked, the gateway's own picker is; remove the reference, "
            f"or name Service {PICKER_SERVICE}",
        )
        if own_picker is not None and not names_shared_picker(pool)
        else None
    )
    return [judged("Accepted", unrouted, generation=generation), judged("ResolvedRefs", picker, generation=generation)]
