"""Gateway API objects in, Envoy's resources and statuses out.

Rules of this file:

- Everything is computed anew from the objects; nothing is remembered, so a missed event costs nothing.
- Order of the objects is irrelevant. One bad object never changes another's output.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from argosy.api.gateway import Gateway, GatewayClass, HTTPRoute
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod, Service
from argosy.api.names import CONTROLLER_NAME
from argosy.api.objects import Key, Object
from argosy.decide.translation.attachment import Attachment, attachments, our_gateways
from argosy.decide.translation.clusters import assignments, clusters
from argosy.decide.translation.listeners import REQUEST_TIMEOUT_S, listener
from argosy.decide.translation.plan import GatewayPlan, gateway_plan, listener_name, picker_endpoints
from argosy.decide.translation.statuses import (
    ProxyReport,
    class_status,
    gateway_status,
    pool_status,
    route_status,
)
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
    """Where Envoy's listeners bind, which Service the pickers stand behind, and how long a request may take to come."""

    bind_address: str
    picker: Key
    request_timeout_s: float = REQUEST_TIMEOUT_S


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What the Envoys of one Gateway are sent, as values in protobuf's JSON form."""

    clusters: tuple[dict[str, Any], ...]
    assignments: tuple[dict[str, Any], ...]
    listeners: tuple[dict[str, Any], ...]
    routes: tuple[dict[str, Any], ...]


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """Resources by Gateway, and the objects whose status is to be written, with it."""

    resources: dict[Key, Resources]
    statuses: tuple[Object, ...]


def translate(
    observed: Observed, settings: Settings, proxies: Mapping[Key, Sequence[ProxyReport]], now: str
) -> Translation:
    """Translate all Gateways of our classes. `now` (RFC 3339) dates conditions that change."""
    classes = [each for each in observed.classes if each.spec.controller_name == CONTROLLER_NAME]
    gateways = our_gateways(classes, observed.gateways)
    service = next((each for each in observed.services if each.key == settings.picker), None)
    pickers = picker_endpoints(service, observed.pods)
    attached = {gateway.key: tuple(attachments(gateway, observed.routes)) for gateway in gateways}
    resources = {
        gateway.key: _resources(
            gateway_plan(gateway, attached[gateway.key], observed.pools, observed.pods, pickers), settings
        )
        for gateway in gateways
    }
    written: list[Object] = [msgspec.structs.replace(each, status=class_status(each, now)) for each in classes]
    for gateway in gateways:
        status = gateway_status(
            gateway, attached[gateway.key], proxies.get(gateway.key, ()), settings.bind_address, now
        )
        written.append(msgspec.structs.replace(gateway, status=status))
    everywhere = tuple(attachment for each in attached.values() for attachment in each)
    written += _route_statuses(observed, everywhere, now)
    written += [
        msgspec.structs.replace(pool, status=pool_status(pool, gateways, everywhere, now)) for pool in observed.pools
    ]
    return Translation(resources=resources, statuses=tuple(written))


def changed_statuses(observed: Observed, translation: Translation) -> tuple[Object, ...]:
    """Give the objects of a translation whose status differs from what was observed."""
    groups: tuple[tuple[Object, ...], ...] = (
        observed.classes,
        observed.gateways,
        observed.routes,
        observed.pools,
    )
    before = {(each.KIND, each.key): each for group in groups for each in group}
    return tuple(each for each in translation.statuses if each != before[each.KIND, each.key])


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
    return Resources(
        clusters=tuple(clusters(plan)),
        assignments=tuple(assignments(plan)),
        listeners=tuple(
            listener(
                socket_address(settings.bind_address, port),
                name,
                chain=listener_name(plan.gateway, port),
                request_timeout_s=settings.request_timeout_s,
            )
            for port, name in names.items()
        ),
        routes=tuple(route_configuration(port, names[port.port]) for port in plan.ports),
    )
