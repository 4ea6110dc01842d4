"""HTTPRoutes as the route table of a Gateway: precedence, backends, and what of a route cannot be honoured.

Rules of this file:

- Each route is judged by itself and only sorting brings routes together: one bad route never changes another's
  entries.
- A rule with a value that cannot be honoured is dropped; a backend that does not resolve is dropped from its rule; a
  rule left without backends answers 500.
"""

from collections.abc import Iterable, Iterator

import msgspec

from argosy.api.gateway import BackendRef, HTTPRoute, RouteRule
from argosy.api.inference import GROUP
from argosy.api.objects import Key
from argosy.base.errors import Refused
from argosy.decide.routing.table import RouteEntry, RouteTable, WeightedPool
from argosy.decide.translation.attachment import Attachment
from argosy.decide.translation.filters import rule_changes
from argosy.decide.translation.matches import precedence, rule_matches, rule_problems, rule_timeout_s


def attached_table(attached: Iterable[Attachment], pools: frozenset[Key], *, listeners: frozenset[str]) -> RouteTable:
    """Give the table of some listeners, the most specific entry first, in whatever order routes come.

    Ties of precedence go to the older route, then by namespace and name, then by the rule's and the match's place.
    """
    found = {
        (precedence(entry.match), age, entry.route, number, place, hostname): entry
        for attachment in attached
        for age in (attachment.route.metadata.creation_timestamp or "",)
        for name, hostnames in attachment.hostnames.items()
        if name in listeners
        for hostname in hostnames
        for number, rule in enumerate(attachment.route.spec.rules)
        for place, entry in enumerate(_entries(rule, attachment.route, hostname, pools))
    }
    return RouteTable(entries=tuple(found[order] for order in sorted(found)))


class RouteProblems(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a route: rules that are dropped, how many are kept, references that do not resolve."""

    kept: int
    dropped: tuple[Refused, ...]
    references: tuple[Refused, ...]


def route_problems(route: HTTPRoute, pools: frozenset[Key]) -> RouteProblems:
    """Judge a route by itself."""
    first = [next(rule_problems(rule), None) for rule in route.spec.rules]
    return RouteProblems(
        kept=first.count(None),
        dropped=tuple(
            Refused(by=problem.by, why=f"rules[{number}].{problem.why}")
            for number, problem in enumerate(first)
            if problem is not None
        ),
        references=tuple(
            Refused(by=problem.by, why=f"rules[{number}].backendRefs[{place}]: {problem.why}")
            for number, rule in enumerate(route.spec.rules)
            for place, ref in enumerate(rule.backend_refs)
            if (problem := _reference_problem(ref, route, pools)) is not None
        ),
    )


def backend_key(ref: BackendRef, route: HTTPRoute) -> Key:
    """Give the pool that a reference names."""
    return Key(ref.namespace or route.key.namespace, ref.name)


def _entries(rule: RouteRule, route: HTTPRoute, hostname: str, pools: frozenset[Key]) -> Iterator[RouteEntry]:
    if any(True for _ in rule_problems(rule)):
        return
    weighted = tuple(
        WeightedPool(pool=backend_key(ref, route), weight=1 if ref.weight is None else ref.weight)
        for ref in rule.backend_refs
        if ref.weight != 0 and _reference_problem(ref, route, pools) is None
    )
    changes = rule_changes(rule)
    for match in rule_matches(rule, hostname):
        yield RouteEntry(match=match, route=route.key, pools=weighted, timeout_s=rule_timeout_s(rule), changes=changes)


def _reference_problem(ref: BackendRef, route: HTTPRoute, pools: frozenset[Key]) -> Refused | None:
    key = backend_key(ref, route)
    if ref.group != GROUP or ref.kind != "InferencePool":
        kind = f"{ref.kind or 'Service'} of group {ref.group or 'core'!r}"
        return Refused(by="InvalidKind", why=f"{kind} is no InferencePool of group {GROUP!r}")
    if key.namespace != route.key.namespace:
        # ReferenceGrants are not read, so no namespace has granted anything.
        return Refused(
            by="RefNotPermitted", why=f"InferencePool {key} is in another namespace, which does not permit it"
        )
    if key not in pools:
        return Refused(by="BackendNotFound", why=f"InferencePool {key} does not exist")
    return None
