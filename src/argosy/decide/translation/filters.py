"""Filters of HTTPRoute rules: what they change on the way, and which cannot be honoured.

Sources: gateway.networking.k8s.io/v1 HTTPRouteFilter, HTTPURLRewriteFilter, HTTPHeaderFilter.
"""

from collections.abc import Iterable, Iterator

from argosy.api.gateway import HeaderModifier, HTTPHeader, PathModifier, RouteFilter, RouteRule
from argosy.api.names import INPUT_HEADER_NAMES, STEERING_HEADERS
from argosy.decide.routing.table import Changes, HeaderChanges, HeaderEquals
from argosy.decide.translation.wellformed import HEADER_NAME, HEADER_VALUE, is_normal_path, valid_hostname

_TYPES = ("RequestHeaderModifier", "ResponseHeaderModifier", "URLRewrite")
_FIXED_HEADERS = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", *STEERING_HEADERS, *INPUT_HEADER_NAMES)
)
"""Envoy refuses a whole configuration that changes the first; the others are its own to say, or reach no engine."""
_MAX_HEADERS = 16


def filter_problems(rule: RouteRule) -> Iterator[str]:
    """Say what of a rule's filters cannot be honoured."""
    seen: set[str] = set()
    for number, each in enumerate(rule.filters):
        if each.type not in _TYPES:
            yield f"filters[{number}]: {each.type} filters are not supported; use {', '.join(_TYPES)}, or remove it"
        elif each.type in seen:
            yield f"filters[{number}]: there is a filter of type {each.type} before it; make one of them"
        else:
            yield from (f"filters[{number}].{problem}" for problem in _problems(each, rule))
        seen.add(each.type)
    for number, ref in enumerate(rule.backend_refs):
        if ref.filters:
            yield f"backendRefs[{number}].filters are not supported; give them to the rule"


def rule_changes(rule: RouteRule) -> Changes:
    """Give what a rule without problems changes."""
    by_type = {each.type: each for each in rule.filters}
    none = RouteFilter()
    rewrite = by_type.get("URLRewrite", none).url_rewrite
    path = rewrite.path or PathModifier()
    return Changes(
        request=_changes(by_type.get("RequestHeaderModifier", none).request_header_modifier),
        response=_changes(by_type.get("ResponseHeaderModifier", none).response_header_modifier),
        hostname=rewrite.hostname,
        path=path.replace_full_path,
        prefix=None if path.replace_prefix_match is None else path.replace_prefix_match.rstrip("/") or "/",
    )


def _changes(modifier: HeaderModifier) -> HeaderChanges:
    return HeaderChanges(
        set=_lowered(modifier.set), add=_lowered(modifier.add), remove=tuple(name.lower() for name in modifier.remove)
    )


def _lowered(headers: Iterable[HTTPHeader]) -> tuple[HeaderEquals, ...]:
    return tuple(HeaderEquals(name=header.name.lower(), value=header.value) for header in headers)


def _problems(of: RouteFilter, rule: RouteRule) -> Iterator[str]:
    match of.type:
        case "RequestHeaderModifier":
            yield from (f"requestHeaderModifier.{each}" for each in _header_problems(of.request_header_modifier))
        case "ResponseHeaderModifier":
            yield from (f"responseHeaderModifier.{each}" for each in _header_problems(of.response_header_modifier))
        case _:
            hostname, path = of.url_rewrite.hostname, of.url_rewrite.path
            if hostname is not None and (hostname.startswith("*") or not valid_hostname(hostname)):
                yield f"urlRewrite.hostname: {hostname!r} is no lower-case DNS name"
            if path is not None:
                yield from (f"urlRewrite.path{each}" for each in _path_problems(path, rule))


def _header_problems(modifier: HeaderModifier) -> Iterator[str]:
    for place in ("set", "add"):
        headers: tuple[HTTPHeader, ...] = getattr(modifier, place)
        for number, header in enumerate(headers):
            if HEADER_VALUE.fullmatch(header.value) is None:
                yield f"{place}[{number}].value: not the value of a header"
            yield from (f"{place}[{number}].name: {problem}" for problem in _name_problems(header.name))
        if len(headers) > _MAX_HEADERS:
            yield f"{place}: there are more than {_MAX_HEADERS}"
    for number, name in enumerate(modifier.remove):
        yield from (f"remove[{number}]: {problem}" for problem in _name_problems(name))
    if len(modifier.remove) > _MAX_HEADERS:
        yield f"remove: there are more than {_MAX_HEADERS}"


def _name_problems(name: str) -> Iterator[str]:
    if HEADER_NAME.fullmatch(name) is None:
        yield "not the name of a header"
    elif name.lower() in _FIXED_HEADERS:
        yield f"{name} is not a route's to change; remove it"


def _path_problems(path: PathModifier, rule: RouteRule) -> Iterator[str]:
    given = {"ReplaceFullPath": path.replace_full_path, "ReplacePrefixMatch": path.replace_prefix_match}
    value = given.get(path.type)
    if path.type not in given:
        yield f".type: {path.type!r} is neither of {', '.join(given)}"
    elif sum(each is not None for each in given.values()) != 1 or value is None:
        yield f": type {path.type} goes with the field of its name, and no other"
    elif not is_normal_path(value) and (value or path.type == "ReplaceFullPath"):
        yield f": {value!r} is no absolute path without . and .. and empty segments"
    elif path.type == "ReplacePrefixMatch" and any(match.path and match.path.type == "Exact" for match in rule.matches):
        yield ": ReplacePrefixMatch replaces a prefix, and a match of this rule is Exact"
