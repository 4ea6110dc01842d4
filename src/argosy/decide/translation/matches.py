"""HTTPRoute rules as matches: what of a rule can be honoured, and in which order matches are tried.

Rules of this file:

- What Envoy would refuse is refused here, rule by rule: Envoy rejects a whole route configuration for one bad value,
  and one bad route must never change another's output.
- Sources: gateway.networking.k8s.io/v1 HTTPRouteMatch (precedence, path rules), GEP-2257 (durations).
"""

import re
from collections.abc import Iterable, Iterator

from argosy.api.gateway import HeaderMatch, PathMatch, RouteMatch, RouteRule
from argosy.api.names import MODEL_HEADER, STEERING_HEADERS
from argosy.base.errors import Refused
from argosy.decide.routing.table import HeaderEquals, Match
from argosy.decide.translation.filters import filter_problems
from argosy.decide.translation.wellformed import HEADER_NAME, HEADER_VALUE, is_normal_path

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))
_DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
_DURATION_PART = re.compile(r"([0-9]+)(h|ms|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def intersection(first: str, second: str) -> str | None:
    """Give the hostname that both cover, the narrower of the two; None when there is none. Empty covers everything."""
    if covers(first, second):
        return second
    return first if covers(second, first) else None


def covers(wide: str, narrow: str) -> bool:
    """Say whether every host of `narrow` is one of `wide`. `*.a.b` covers `c.a.b` and `d.c.a.b`, not `a.b`."""
    return wide in ("", narrow) or (wide.startswith("*.") and narrow.endswith(wide[1:]))


def rule_problems(rule: RouteRule) -> Iterator[Refused]:
    """Say what of a rule cannot be honoured; the rule as a whole is dropped for any of it."""
    for problem in filter_problems(rule):
        yield Refused(by="UnsupportedValue", why=problem)
    for name, value in rule.timeouts.items():
        if name != "request":
            yield Refused(by="UnsupportedValue", why=f"timeouts.{name} is not supported; use timeouts.request")
        elif _DURATION.fullmatch(value) is None:
            yield Refused(by="UnsupportedValue", why=f"timeouts.request: {value!r} is no duration such as 30s or 5m")
    for number, ref in enumerate(rule.backend_refs):
        if ref.weight is not None and not 0 <= ref.weight <= 1_000_000:
            yield Refused(by="UnsupportedValue", why=f"backendRefs[{number}].weight: {ref.weight} is not 0 to 1000000")
    for number, match in enumerate(rule.matches):
        for problem in _match_problems(match):
            yield Refused(by="UnsupportedValue", why=f"matches[{number}].{problem}")


def rule_timeout_s(rule: RouteRule) -> float | None:
    """Give the rule's request timeout; None for none, which is also what `0s` means."""
    parts = _DURATION_PART.findall(rule.timeouts.get("request", ""))
    return sum(int(number) * _SECONDS[unit] for number, unit in parts) or None


def rule_matches(rule: RouteRule, hostname: str) -> tuple[Match, ...]:
    """Give the matches of a rule without problems, for one hostname. No matches means that everything matches."""
    return tuple(_as_match(match, hostname) for match in rule.matches or (RouteMatch(),))


def precedence(match: Match) -> tuple[int, int, bool, int, bool, int]:
    """Order matches: the most specific sorts first.

    Hostname (exact ones by length, then wildcards by length), exact path, longer prefix, method, more headers; ties
    are the routes' to break.
    """
    exact = 0 if match.hostname.startswith("*") else len(match.hostname)
    headers = len(match.headers) + (match.model is not None)
    return (-exact, -len(match.hostname), not match.path_exact, -len(match.path), not match.method, -headers)


def _as_match(match: RouteMatch, hostname: str) -> Match:
    path = match.path or PathMatch()
    exact = path.type == "Exact"
    headers = tuple(_first_of_each(match.headers))
    model = next((header.value for header in headers if header.name == MODEL_HEADER), None)
    return Match(
        hostname=hostname,
        path=path.value if exact else path.value.rstrip("/") or "/",
        path_exact=exact,
        method=match.method or "",
        headers=tuple(header for header in headers if header.name != MODEL_HEADER),
        model=model,
    )


def _first_of_each(headers: Iterable[HeaderMatch]) -> Iterator[HeaderEquals]:
    """Of equivalent names only the first entry counts, as the Gateway API says."""
    seen: set[str] = set()
    for header in headers:
        name = header.name.lower()
        if name not in seen:
            seen.add(name)
            yield HeaderEquals(name=name, value=header.value)


def _match_problems(match: RouteMatch) -> Iterator[str]:
    path = match.path or PathMatch()
    if path.type not in (None, "PathPrefix", "Exact"):
        yield f"path.type: {path.type} is not supported; use PathPrefix or Exact"
    elif not is_normal_path(path.value):
        yield f"path.value: {path.value!r} is no absolute path without . and .. and empty segments"
    if match.method is not None and match.method not in _METHODS:
        yield f"method: {match.method!r} is no HTTP method"
    for number, header in enumerate(match.headers):
        if header.type not in (None, "Exact"):
            yield f"headers[{number}].type: {header.type} is not supported; use Exact"
        elif HEADER_NAME.fullmatch(header.name) is None or HEADER_VALUE.fullmatch(header.value) is None:
            yield f"headers[{number}]: not a header name with a value"
        elif header.name.lower() in STEERING_HEADERS and header.name.lower() != MODEL_HEADER:
            yield f"headers[{number}].name: {header.name} never reaches a match; clients cannot set it"
