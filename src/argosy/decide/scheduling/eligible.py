"""Which endpoints of a pool may serve a request at all. Filters only shrink."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import PoolEndpoint


class Eligible(msgspec.Struct, frozen=True):
    """The endpoints of one state of a pool that may serve a model, as a set: bits of an int, see `base.numbering`."""

    everyone: int
    by_name: dict[str, int]

    def within(self, subset: frozenset[str] | None) -> int:
        """Give those of the subset, if the request has one; an address without a port stands for all ports of it."""
        if subset is None:
            return self.everyone
        found = 0
        for name in subset:
            found |= self.by_name.get(name, 0)
        return found


def eligible(
    endpoints: Iterable[PoolEndpoint], model: str | None, set_of: Callable[[Iterable[Endpoint]], int]
) -> Eligible:
    """Keep ready endpoints that answer to the model.

    While a service changes the name of its model, its replicas answer to different ones.
    """
    everyone, by_name = 0, dict[str, int]()
    for each in endpoints:
        if each.ready and (model is None or not each.models or model in each.models):
            bit = set_of((each.endpoint,))
            everyone |= bit
            for name in (str(each.endpoint), each.endpoint.address):
                by_name[name] = by_name.get(name, 0) | bit
    return Eligible(everyone, by_name)


def answering(endpoints: Iterable[PoolEndpoint]) -> Iterator[PoolEndpoint]:
    """Leave out workers that only compute prompts for others."""
    return (each for each in endpoints if each.answers)


def prefilling_for(endpoints: Iterable[PoolEndpoint], kv_layout: str) -> Iterator[PoolEndpoint]:
    """Give workers that compute prompts for others, of the same KV layout as the one that goes on from there."""
    return (each for each in endpoints if each.prefills and each.kv_layout == kv_layout)


def why_removed(endpoint: PoolEndpoint, subset: frozenset[str] | None, model: str | None) -> str | None:
    """Say why an endpoint is not among those that may serve a whole request; None for one that is."""
    if not endpoint.answers:
        return "it computes prompts for others only"
    if not endpoint.ready:
        return "it is not ready"
    if model is not None and endpoint.models and model not in endpoint.models:
        return "it does not answer to the model's name"
    if subset is not None and str(endpoint.endpoint) not in subset and endpoint.endpoint.address not in subset:
        return "it is not in the subset that the proxy allows"
    return None


def subset_of(hint: str | Sequence[object]) -> frozenset[str]:
    """Read the proxy's subset hint: a list of `ip:port`, or a string with commas (both are seen, and both at once).

    Source: Endpoint Picker Protocol 1.0.0, `x-gateway-destination-endpoint-subset`.
    """
    words = ",".join([hint] if isinstance(hint, str) else [word for word in hint if isinstance(word, str)]).split(",")
    return frozenset(word.strip() for word in words if word.strip())
