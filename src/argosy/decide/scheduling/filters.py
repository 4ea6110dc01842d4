"""Which endpoints of a pool may serve a request at all. Filters only shrink, and say what they removed and why."""

from collections.abc import Iterable, Sequence

import msgspec

from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import PoolEndpoint


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What one filter removed."""

    by: str
    endpoints: tuple[Endpoint, ...]


class Eligible(msgspec.Struct, frozen=True, kw_only=True):
    """Endpoints that passed every filter, and what each filter removed."""

    endpoints: tuple[Endpoint, ...]
    removed: tuple[Removed, ...] = ()


def eligible(endpoints: Iterable[PoolEndpoint], subset: frozenset[str] | None = None) -> Eligible:
    """Keep ready endpoints, and of these the ones of the subset, if the request has one.

    An address without a port in the subset stands for all ports of it.
    """
    kept: list[Endpoint] = []
    unready: list[Endpoint] = []
    for candidate in endpoints:
        (kept if candidate.ready else unready).append(candidate.endpoint)
    outside: list[Endpoint] = []
    if subset is not None:
        candidates, kept = kept, []
        for endpoint in candidates:
            (kept if str(endpoint) in subset or endpoint.address in subset else outside).append(endpoint)
    removed = (("ready", unready), ("subset", outside))
    return Eligible(
        endpoints=tuple(kept),
        removed=tuple(Removed(by=by, endpoints=tuple(those)) for by, those in removed if those),
    )


def subset_of(hint: str | Sequence[object]) -> frozenset[str]:
    """Read the proxy's subset hint: a list of `ip:port`, or one string with commas (both are seen).

    Source: Endpoint Picker Protocol 1.0.0, `x-gateway-destination-endpoint-subset`.
    """
    words = hint.split(",") if isinstance(hint, str) else [word for word in hint if isinstance(word, str)]
    return frozenset(word.strip() for word in words if word.strip())
