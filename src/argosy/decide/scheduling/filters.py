"""Which endpoints of a pool may serve a request at all. Filters only shrink."""

from collections.abc import Iterable, Sequence

from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import PoolEndpoint


def eligible(endpoints: Iterable[PoolEndpoint], subset: frozenset[str] | None = None) -> tuple[Endpoint, ...]:
    """Keep ready endpoints, and of these the ones of the subset, if the request has one.

    An address without a port in the subset stands for all ports of it.
    """
    ready = (candidate.endpoint for candidate in endpoints if candidate.ready)
    if subset is None:
        return tuple(ready)
    return tuple(each for each in ready if str(each) in subset or each.address in subset)


def subset_of(hint: str | Sequence[object]) -> frozenset[str]:
    """Read the proxy's subset hint: a list of `ip:port`, or one string with commas (both are seen).

    Source: Endpoint Picker Protocol 1.0.0, `x-gateway-destination-endpoint-subset`.
    """
    words = hint.split(",") if isinstance(hint, str) else [word for word in hint if isinstance(word, str)]
    return frozenset(word.strip() for word in words if word.strip())
