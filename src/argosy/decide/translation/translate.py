"""Gateway API objects in, Envoy's resources and statuses out.

Rules of this file:

- Everything is computed anew from the objects; nothing is remembered, so a missed event costs nothing.
- Order of the objects is irrelevant. One bad object never changes another's output.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from argosy.api.gateway import Gateway, GatewayClass, HTTPRoute
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod, Service
from argosy.api.names import CONTROLLER_NAME
from argosy.api.objects import Key, Object
from argosy.decide.routing.endpoints import PodIndex
from argosy.decide.translation.attachment import Attachment, attachments, our_gateways
from argosy.decide.translation.clusters import PickerTls, assignments, clusters
from argosy.decide.translation.infrastructure import bound_ports, gateway_addresses, proxy_name
from argosy.decide.translation.listeners import REQUEST_TIMEOUT_S, listener
from argosy.decide.translation.pickers import picker_endpoints, service_dns_name
from argosy.decide.translation.plan import GatewayPlan, gateway_plan, listener_name, stopped_headers
from argosy.decide.translation.statuses import (
    ProxyReport,
    class_status,
    gateway_status,
    gateways_by_pool,
    pool_status,
    route_status,
)
from argosy.decide.translation.tracing import SpanCollector, collector_cluster
from argosy.decide.translation.values import socket_address
from argosy.decide.translation.virtual_hosts import route_configuration


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """The objects that translation reads, of all namespaces."""

    classes: tuple[GatewayClass, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    routes: tuple[HTTPRoute, ...] = ()
    pools: tuple[InferencePool, ...] = ()
    pods: tuple[Pod, ...] = ()
    services: tuple[Service, ...] = ()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where Envoy's listeners bind, which Service the pickers stand behind, and how long a request may take to come.

    `picker_authority` is a PEM bundle by which the pickers' certificates are verified; without one they are spoken to
    in plain text. `spans` is where Envoys send spans of requests, if they do.
    """

    bind_address: str
    picker: Key
    picker_authority: str | None = None
    request_timeout_s: float = REQUEST_TIMEOUT_S
    spans: SpanCollector | None = None


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What the Envoys of one Gateway are sent, as values in protobuf's JSON form."""

    clusters: tuple[dict[str, Any], ...]
    assignments: tuple[dict[str, Any], ...]
    listeners: tuple[dict[str, Any], ...]
    routes: tuple[dict[str, Any], ...]


class Attached(msgspec.Struct, frozen=True, kw_only=True):
    """The Gateways of our classes, and what of all routes attaches to each."""

    classes: tuple[GatewayClass, ...]
    gateways: tuple[Gateway, ...]
    attachments: dict[Key, tuple[Attachment, ...]]


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """Resources by Gateway, and the objects whose status is to be written, with it."""

    resources: dict[Key, Resources]
    statuses: tuple[Object, ...]


def translate(
    observed: Observed, settings: Settings, proxies: Mapping[Key, Sequence[ProxyReport]], now: str
) -> Translation:
    """Translate all Gateways of our classes, and say what became of them."""
    attached = attach(observed)
    return Translation(
        resources=resources(observed, settings, attached),
        statuses=statuses(observed, settings, attached, proxies, now),
    )


def attach(observed: Observed) -> Attached:
    """Find what attaches to what: resources and statuses are both made from it."""
    classes = tuple(each for each in observed.classes if each.spec.controller_name == CONTROLLER_NAME)
    gateways = our_gateways(classes, observed.gateways)
    found = {gateway.key: tuple(attachments(gateway, observed.routes)) for gateway in gateways}
    return Attached(classes=classes, gateways=gateways, attachments=found)


def resources(observed: Observed, settings: Settings, attached: Attached) -> dict[Key, Resources]:
    """Give what the Envoys of each Gateway are sent."""
    service = next((each for each in observed.services if each.key == settings.picker), None)
    pickers, pods = picker_endpoints(service, observed.pods), PodIndex(observed.pods)
    return {
        gateway.key: _resources(
            gateway_plan(gateway, attached.attachments[gateway.key], observed.pools, pods, pickers), settings
        )
        for gateway in attached.gateways
    }


def statuses(
    observed: Observed, settings: Settings, attached: Attached, proxies: Mapping[Key, Sequence[ProxyReport]], now: str
) -> tuple[Object, ...]:
    """Give the objects with the statuses that they should have; `now` (RFC 3339) dates conditions that change.

    `proxies` says what Envoys made of what they were sent, which should be the resources of the same objects.
    """
    services = {each.key: each for each in observed.services}
    written: list[Object] = [msgspec.structs.replace(each, status=class_status(each, now)) for each in attached.classes]
    for gateway in attached.gateways:
        service = services.get(Key(gateway.key.namespace, proxy_name(gateway.key.name)))
        status = gateway_status(
            gateway,
            attached.attachments[gateway.key],
            proxies.get(gateway.key, ()),
            addresses=gateway_addresses(service, bind_address=settings.bind_address),
            now=now,
        )
        written.append(msgspec.structs.replace(gateway, status=status))
    everywhere = tuple(attachment for each in attached.attachments.values() for attachment in each)
    written += _route_statuses(observed, everywhere, now)
    leading = gateways_by_pool(everywhere)
    written += [
        msgspec.structs.replace(pool, status=pool_status(pool, attached.gateways, leading.get(pool.key, {}), now))
        for pool in observed.pools
    ]
    return tuple(written)


def changed_statuses(observed: Observed, wanted: Iterable[Object]) -> tuple[Object, ...]:
    """Give those of `statuses` whose status differs from what was observed."""
    groups: tuple[tuple[Object, ...], ...] = (
        observed.classes,
        observed.gateways,
        observed.routes,
        observed.pools,
    )
    before = {(each.KIND, each.key): each for group in groups for each in group}
    return tuple(each for each in wanted if each != before[each.KIND, each.key])


def _route_statuses(observed: Observed, everywhere: Sequence[Attachment], now: str) -> list[Object]:
    pools = frozenset(pool.key for pool in observed.pools)
    by_route: dict[Key, list[Attachment]] = {}
    for attachment in everywhere:
        by_route.setdefault(attachment.route.key, []).append(attachment)
    return [
        msgspec.structs.replace(route, status=route_status(route, by_route.get(route.key, ()), pools, now))
        for route in observed.routes
    ]


def _resources(plan: GatewayPlan, settings: Settings) -> Resources:
    names = {port.port: f"http/{port.port}" for port in plan.ports}
    bound = bound_ports(names, bind_address=settings.bind_address)
    return Resources(
        clusters=(*clusters(plan, tls=_picker_tls(settings)), *_collector(settings.spans)),
        assignments=tuple(assignments(plan)),
        listeners=tuple(
            listener(
                socket_address(settings.bind_address, bound[port]),
                name,
                chain=listener_name(plan.gateway, port),
                request_timeout_s=settings.request_timeout_s,
                spans=settings.spans,
            )
            for port, name in names.items()
        ),
        routes=tuple(
            route_configuration(port, names[port.port], stopped=stopped_headers(port, plan.pools))
            for port in plan.ports
        ),
    )


def _collector(spans: SpanCollector | None) -> tuple[dict[str, Any], ...]:
    return () if spans is None else (collector_cluster(spans),)


def _picker_tls(settings: Settings) -> PickerTls | None:
    if settings.picker_authority is None:
        return None
    return PickerTls(authority=settings.picker_authority, name=service_dns_name(settings.picker))
