"""EndpointSlice (discovery.k8s.io/v1): the addresses behind a Service."""

from typing import ClassVar, Final

from argosy.api.objects import Object, Value

SLICE_SERVICE: Final = "kubernetes.io/service-name"
"""Label of a slice: the Service that it belongs to."""
SLICE_MANAGER: Final = "endpointslice.kubernetes.io/managed-by"
"""Label of a slice: who writes it. The cluster's own controller leaves slices of others alone."""


class EndpointConditions(Value, frozen=True, kw_only=True):
    """Whether an endpoint may get traffic; None is unknown."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(Value, frozen=True, kw_only=True):
    """One endpoint; its addresses are of one pod."""

    addresses: tuple[str, ...]
    conditions: EndpointConditions | None = None
    node_name: str | None = None
    hostname: str | None = None


class SlicePort(Value, frozen=True, kw_only=True):
    """A port of every endpoint; the name is the Service port's."""

    port: int | None = None
    name: str = ""
    protocol: str | None = None
    app_protocol: str | None = None


class EndpointSlice(Object, frozen=True, kw_only=True):
    """Addresses behind a Service."""

    API_VERSION: ClassVar[str] = "discovery.k8s.io/v1"
    KIND: ClassVar[str] = "EndpointSlice"
    PLURAL: ClassVar[str] = "endpointslices"

    address_type: str
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[SlicePort, ...] = ()
