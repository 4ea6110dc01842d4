"""Which Gateways are ours, which HTTPRoutes attach to which of their listeners, and why others do not.

Source: gateway.networking.k8s.io/v1, ParentReference and AllowedRoutes.
"""

from collections.abc import Iterable, Iterator

import msgspec

from argosy.api.gateway import GROUP, Gateway, GatewayClass, HTTPRoute, Listener, ParentReference
from argosy.api.names import CONTROLLER_NAME
from argosy.base.errors import Refused
from argosy.decide.translation.matches import intersection
from argosy.decide.translation.wellformed import valid_hostname


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """One parentRef of a route that names the Gateway, and what became of it.

    `hostnames` holds, by listener name, the hostnames that route and listener share; a listener without any is not
    there. `refused` is set when no listener takes the route.
    """

    route: HTTPRoute
    parent: ParentReference
    hostnames: dict[str, tuple[str, ...]] = {}
    refused: Refused | None = None


def our_gateways(classes: Iterable[GatewayClass], gateways: Iterable[Gateway]) -> tuple[Gateway, ...]:
    """Give the Gateways that are Argosy's to serve, whatever the names of their classes, ordered by key."""
    ours = {each.metadata.name for each in classes if each.spec.controller_name == CONTROLLER_NAME}
    return tuple(sorted((g for g in gateways if g.spec.gateway_class_name in ours), key=lambda g: g.key))


def attachments(gateway: Gateway, routes: Iterable[HTTPRoute]) -> Iterator[Attachment]:
    """Give one attachment for every parentRef that names this Gateway, in the routes' order."""
    for route in routes:
        for parent in route.spec.parent_refs:
            if _names(parent, route, gateway):
                yield _attach(gateway, route, parent)


def listener_problem(gateway: Gateway, listener: Listener) -> Refused | None:
    """Say why a listener is not served: Argosy serves plain HTTP, for routes from all namespaces or its own.

    `by` is the reason of the listener's condition. Of listeners with one port and hostname the first is served.
    """
    namespaces = listener.allowed_routes.namespaces if listener.allowed_routes else None
    first = next(
        each for each in gateway.spec.listeners if (each.port, each.hostname) == (listener.port, listener.hostname)
    )
    if listener.protocol != "HTTP":
        return Refused(by="UnsupportedProtocol", why=f"protocol {listener.protocol} is not supported; use HTTP")
    if not 0 < listener.port < 65536:
        return Refused(by="PortUnavailable", why=f"{listener.port} is no port")
    if listener.hostname and not valid_hostname(listener.hostname):
        return Refused(by="UnsupportedValue", why=f"hostname {listener.hostname!r} is no lower-case DNS name")
    if namespaces is not None and namespaces.from_ not in ("All", "Same", "None"):
        return Refused(by="UnsupportedValue", why=f"allowedRoutes from {namespaces.from_}: use All, Same or None")
    if first.name != listener.name:
        return Refused(by="HostnameConflict", why=f"listener {first.name} has the same port and hostname")
    return None


def _names(parent: ParentReference, route: HTTPRoute, gateway: Gateway) -> bool:
    return (
        parent.group in (None, GROUP)
        and parent.kind in (None, "Gateway")
        and parent.name == gateway.metadata.name
        and (parent.namespace or route.metadata.namespace) == gateway.metadata.namespace
    )


def _attach(gateway: Gateway, route: HTTPRoute, parent: ParentReference) -> Attachment:
    refused: Refused | None = None
    chosen = [
        listener
        for listener in gateway.spec.listeners
        if parent.section_name in (None, listener.name)
        and parent.port in (None, listener.port)
        and listener_problem(gateway, listener) is None
    ]
    bad = [hostname for hostname in route.spec.hostnames if not valid_hostname(hostname)]
    allowed = [listener for listener in chosen if _allows(gateway, listener, route)]
    hostnames = {listener.name: _shared_hostnames(listener, route) for listener in allowed}
    hostnames = {name: shared for name, shared in hostnames.items() if shared}
    if bad:
        refused = Refused(by="UnsupportedValue", why=f"hostnames: {bad[0]!r} is no lower-case DNS name")
    elif not chosen:
        refused = Refused(by="NoMatchingParent", why=f"Gateway {gateway.key} serves no listener that parentRefs name")
    elif not allowed:
        refused = Refused(
            by="NotAllowedByListeners",
            why=f"Gateway {gateway.key} takes no routes from namespace {route.key.namespace}",
        )
    elif not hostnames:
        refused = Refused(
            by="NoMatchingListenerHostname", why=f"no hostname is one of a listener of Gateway {gateway.key}"
        )
    return Attachment(route=route, parent=parent, hostnames={} if refused else hostnames, refused=refused)


def _allows(gateway: Gateway, listener: Listener, route: HTTPRoute) -> bool:
    namespaces = listener.allowed_routes.namespaces if listener.allowed_routes else None
    match namespaces.from_ if namespaces else "Same":
        case "All":
            return True
        case "Same":
            return route.metadata.namespace == gateway.metadata.namespace
        case _:
            return False


def _shared_hostnames(listener: Listener, route: HTTPRoute) -> tuple[str, ...]:
    wanted = route.spec.hostnames or ("",)
    shared = (intersection(listener.hostname or "", hostname) for hostname in wanted)
    return tuple(sorted({hostname for hostname in shared if hostname is not None}))
