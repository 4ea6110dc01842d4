"""From a request to the entry of the route table that it falls under, and from there to one pool.

Rules of this file:

- Precedence is the table's order and nothing else.
- A request's model is what its body says; a header of the client's never counts for it.
"""

from collections import defaultdict
from collections.abc import Mapping

import msgspec

from argosy.api.objects import Key
from argosy.decide.routing.table import Match, RouteEntry, RouteTable


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What routing looks at: pseudo-headers, headers by lower-case name, and the model of the body if it has one."""

    method: str
    authority: str
    path: str
    headers: Mapping[str, str]
    model: str | None = None


class Matcher:
    """A route table, indexed by model: a request looks at the entries that its model can fall under, and no others."""

    def __init__(self, table: RouteTable) -> None:
        self.models = table.models
        self._any_model: list[tuple[int, RouteEntry]] = []
        self._by_model: defaultdict[str, list[tuple[int, RouteEntry]]] = defaultdict(list)
        for place, entry in enumerate(table.entries):
            model = entry.match.model
            (self._any_model if model is None else self._by_model[model]).append((place, entry))
        self._by_model.default_factory = None

    def entry(self, request: Request) -> RouteEntry | None:
        """Give the first entry of the table that the request matches."""
        of_model = [] if request.model is None else self._by_model.get(request.model, [])
        own = next(((place, e) for place, e in of_model if matches(e.match, request)), None)
        for place, e in self._any_model:
            if own is not None and own[0] < place:
                break
            if matches(e.match, request):
                return e
        return own[1] if own is not None else None


def matches(match: Match, request: Request) -> bool:
    """Whether the request meets every condition of the match (Gateway API v1, HTTPRouteMatch and hostnames)."""
    return (
        (match.model is None or match.model == request.model)
        and (not match.method or match.method == request.method)
        and _path_matches(match, request.path)
        and (not match.hostname or _hostname_matches(match.hostname, request.authority))
        and all(request.headers.get(header.name) == header.value for header in match.headers)
    )


def _path_matches(match: Match, target: str) -> bool:
    path = target.partition("?")[0].partition("#")[0]
    if match.path_exact:
        return path == match.path
    prefix = match.path.rstrip("/")
    return path.startswith(prefix) and (len(path) == len(prefix) or path[len(prefix)] == "/")


def _hostname_matches(hostname: str, authority: str) -> bool:
    # An IPv6 authority has brackets, and hostnames of routes are never addresses, so its colons do no harm here.
    name = authority.partition(":")[0].lower()
    if hostname.startswith("*."):
        return name.endswith(hostname[1:]) and len(name) > len(hostname) - 1
    return name == hostname


def weighted_pool(entry: RouteEntry, draw: float) -> Key | None:
    """Give the pool that a draw in [0, 1) falls on, each pool having its share; None where no pool has any weight."""
    total = sum(pool.weight for pool in entry.pools)
    point = draw * total
    for pool in entry.pools:
        point -= pool.weight
        if point < 0:
            return pool.pool
    return None
