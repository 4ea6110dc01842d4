"""The route table: every HTTPRoute rule of a listener as one ordered list, the first match wins.

Envoy's routes and the picker's matcher are both made from this table, so that precedence is computed once.
"""

import msgspec

from argosy.api.objects import Key


class HeaderEquals(msgspec.Struct, frozen=True, kw_only=True):
    """A header that must have exactly this value; `name` is lower case."""

    name: str
    value: str


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """One conjunction of conditions; empty fields match everything.

    `hostname` may begin with `*.`; `path` is a prefix on whole segments unless `path_exact`. `model` is the value
    wanted of `X-Gateway-Model-Name`, kept apart from `headers` because Envoy alone can learn it without a picker.
    """

    hostname: str = ""
    path: str = "/"
    path_exact: bool = False
    method: str = ""
    headers: tuple[HeaderEquals, ...] = ()
    model: str | None = None


class WeightedPool(msgspec.Struct, frozen=True, kw_only=True):
    """A pool and its share of a rule's requests; weight 0 gets none."""

    pool: Key
    weight: int = 1


class HeaderChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of headers, in this order: overwritten, appended to, removed; names are lower case."""

    set: tuple[HeaderEquals, ...] = ()
    add: tuple[HeaderEquals, ...] = ()
    remove: tuple[str, ...] = ()


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry changes on a request's way to its pool, and on the answer's way back.

    `prefix` goes in the place of the matched path, `path` in that of the whole one; neither ends with a slash unless
    it is one.
    """

    request: HeaderChanges = HeaderChanges()
    response: HeaderChanges = HeaderChanges()
    hostname: str | None = None
    path: str | None = None
    prefix: str | None = None


class RouteEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A match, the route it comes from, and the pools behind it.

    No pools at all (a reference that does not resolve, or only zero weights) means that matching requests get 500,
    as the Gateway API says.
    """

    match: Match
    route: Key
    pools: tuple[WeightedPool, ...]
    timeout_s: float | None = None
    changes: Changes = Changes()

    @property
    def only_routes(self) -> bool:
        """Whether it says where requests go, and nothing more."""
        return self.timeout_s is None and self.changes == Changes()


class RouteTable(msgspec.Struct, frozen=True, kw_only=True):
    """The entries of one gateway, most specific first."""

    entries: tuple[RouteEntry, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """Names of models that the table can route, ordered."""
        return tuple(sorted({e.match.model for e in self.entries if e.match.model is not None and e.pools}))
