"""Gateway API v1 (gateway.networking.k8s.io): GatewayClass, Gateway, HTTPRoute, as far as Argosy uses them."""

from typing import ClassVar

import msgspec

from argosy.api.objects import Condition, Object, Value

GROUP = "gateway.networking.k8s.io"


class GatewayClassSpec(Value, frozen=True, kw_only=True):
    """Who realizes the gateways of this class."""

    controller_name: str
    description: str | None = None


class ConditionsStatus(Value, frozen=True, kw_only=True):
    """A status that is conditions alone."""

    conditions: tuple[Condition, ...] = ()


class GatewayClass(Object, frozen=True, kw_only=True):
    """A kind of gateway."""

    API_VERSION: ClassVar[str] = f"{GROUP}/v1"
    KIND: ClassVar[str] = "GatewayClass"
    PLURAL: ClassVar[str] = "gatewayclasses"
    NAMESPACED: ClassVar[bool] = False

    spec: GatewayClassSpec
    status: ConditionsStatus = ConditionsStatus()


class RouteNamespaces(Value, frozen=True, kw_only=True):
    """Namespaces whose routes may attach. `from` is a Python keyword, hence `from_`."""

    from_: str = msgspec.field(name="from")


class AllowedRoutes(Value, frozen=True, kw_only=True):
    """Which routes may attach to a listener."""

    namespaces: RouteNamespaces | None = None


class Listener(Value, frozen=True, kw_only=True):
    """One port of a Gateway."""

    name: str
    port: int
    protocol: str
    hostname: str | None = None
    allowed_routes: AllowedRoutes | None = None


class GatewayAddress(Value, frozen=True, kw_only=True):
    """Where a gateway is reached, or is asked to be: IPAddress (the default) or Hostname."""

    value: str = ""
    type: str | None = None


class GatewayInfrastructure(Value, frozen=True, kw_only=True):
    """What the objects made for a Gateway carry besides, and settings of the controller's own kind."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    parameters_ref: dict[str, str] | None = None


class GatewaySpec(Value, frozen=True, kw_only=True):
    """Class and listeners."""

    gateway_class_name: str
    listeners: tuple[Listener, ...]
    addresses: tuple[GatewayAddress, ...] = ()
    infrastructure: GatewayInfrastructure | None = None


class ListenerStatus(Value, frozen=True, kw_only=True):
    """What became of a listener."""

    name: str
    attached_routes: int
    supported_kinds: tuple[dict[str, str], ...]
    conditions: tuple[Condition, ...] = ()


class GatewayStatus(Value, frozen=True, kw_only=True):
    """Addresses, conditions and listeners."""

    addresses: tuple[GatewayAddress, ...] = ()
    conditions: tuple[Condition, ...] = ()
    listeners: tuple[ListenerStatus, ...] = ()


class Gateway(Object, frozen=True, kw_only=True):
    """Listeners that take traffic in."""

    API_VERSION: ClassVar[str] = f"{GROUP}/v1"
    KIND: ClassVar[str] = "Gateway"
    PLURAL: ClassVar[str] = "gateways"

    spec: GatewaySpec
    status: GatewayStatus = GatewayStatus()


class ParentReference(Value, frozen=True, kw_only=True):
    """The Gateway, and perhaps the listener, that a route attaches to."""

    name: str
    namespace: str | None = None
    group: str | None = None
    kind: str | None = None
    section_name: str | None = None
    port: int | None = None


class PathMatch(Value, frozen=True, kw_only=True):
    """Exact or PathPrefix (the default); RegularExpression is refused, with a status."""

    type: str | None = None
    value: str = "/"


class HeaderMatch(Value, frozen=True, kw_only=True):
    """A header that must have a value: Exact (the default); RegularExpression is refused, with a status."""

    name: str
    value: str
    type: str | None = None


class RouteMatch(Value, frozen=True, kw_only=True):
    """Path, headers and method; all must hold."""

    path: PathMatch | None = None
    headers: tuple[HeaderMatch, ...] = ()
    method: str | None = None


class HTTPHeader(Value, frozen=True, kw_only=True):
    """A header and its value."""

    name: str
    value: str


class HeaderModifier(Value, frozen=True, kw_only=True):
    """What becomes of headers: `set` overwrites, `add` appends, `remove` takes away."""

    set: tuple[HTTPHeader, ...] = ()
    add: tuple[HTTPHeader, ...] = ()
    remove: tuple[str, ...] = ()


class PathModifier(Value, frozen=True, kw_only=True):
    """What becomes of the path: ReplaceFullPath, or ReplacePrefixMatch of the prefix that the rule matches."""

    type: str = ""
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None


class URLRewrite(Value, frozen=True, kw_only=True):
    """What the backend sees as host and path."""

    hostname: str | None = None
    path: PathModifier | None = None


class RouteFilter(Value, frozen=True, kw_only=True):
    """What is done with requests on their way; of other types only the name is kept, and they are refused."""

    type: str = ""
    request_header_modifier: HeaderModifier = HeaderModifier()
    response_header_modifier: HeaderModifier = HeaderModifier()
    url_rewrite: URLRewrite = URLRewrite()


class BackendRef(Value, frozen=True, kw_only=True):
    """Where matching requests go, with a weight among its rule's backends."""

    name: str
    group: str | None = None
    kind: str | None = None
    namespace: str | None = None
    port: int | None = None
    weight: int | None = None
    filters: tuple[RouteFilter, ...] = ()


class RouteRule(Value, frozen=True, kw_only=True):
    """Matches (any of them) and backends."""

    name: str | None = None
    matches: tuple[RouteMatch, ...] = ()
    filters: tuple[RouteFilter, ...] = ()
    backend_refs: tuple[BackendRef, ...] = ()
    timeouts: dict[str, str] = {}


class HTTPRouteSpec(Value, frozen=True, kw_only=True):
    """Parents, hostnames and rules."""

    parent_refs: tuple[ParentReference, ...] = ()
    hostnames: tuple[str, ...] = ()
    rules: tuple[RouteRule, ...] = ()


class RouteParentStatus(Value, frozen=True, kw_only=True):
    """What one parent says of a route."""

    parent_ref: ParentReference
    controller_name: str
    conditions: tuple[Condition, ...] = ()


class HTTPRouteStatus(Value, frozen=True, kw_only=True):
    """What the parents say."""

    parents: tuple[RouteParentStatus, ...] = ()


class HTTPRoute(Object, frozen=True, kw_only=True):
    """Requests to backends."""

    API_VERSION: ClassVar[str] = f"{GROUP}/v1"
    KIND: ClassVar[str] = "HTTPRoute"
    PLURAL: ClassVar[str] = "httproutes"

    spec: HTTPRouteSpec
    status: HTTPRouteStatus = HTTPRouteStatus()
