"""What an entry changes of requests and answers, as fields of an Envoy route.

Source: envoy.config.route.v3 Route and RouteAction; in values of headers `%` begins a command, and `%%` is one `%`.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from argosy.decide.routing.table import Changes, HeaderChanges, HeaderEquals, RouteEntry


def rewriting(entry: RouteEntry) -> dict[str, Any]:
    """Give the fields of a route's action that change host and path; the query stays."""
    changes = entry.changes
    fields: dict[str, Any] = {} if changes.hostname is None else {"host_rewrite_literal": changes.hostname}
    if changes.path is not None:
        fields["regex_rewrite"] = _substitution("^/.*$", changes.path)
    elif changes.prefix is not None:
        fields["regex_rewrite"] = _prefix_substitution(entry.match.path, changes.prefix)
    return fields


def _prefix_substitution(prefix: str, by: str) -> dict[str, Any]:
    """Replace whole segments: what follows the prefix keeps its slash, and there is always one at the beginning."""
    if by == "/":
        return _substitution("^/*" if prefix == "/" else f"^{re.escape(prefix)}/*", "/")
    return _substitution("^/" if prefix == "/" else f"^{re.escape(prefix)}", f"{by}/" if prefix == "/" else by)


def _substitution(regex: str, by: str) -> dict[str, Any]:
    return {"pattern": {"regex": regex}, "substitution": by}


def header_changes(changes: Changes) -> dict[str, Any]:
    """Give the fields of a route that change headers."""
    return dict((*_headers("request", changes.request), *_headers("response", changes.response)))


def _headers(whose: str, changes: HeaderChanges) -> Iterator[tuple[str, Any]]:
    added = [*_added(changes.set, "OVERWRITE_IF_EXISTS_OR_ADD"), *_added(changes.add, "APPEND_IF_EXISTS_OR_ADD")]
    if added:
        yield f"{whose}_headers_to_add", added
    if changes.remove:
        yield f"{whose}_headers_to_remove", list(changes.remove)


def _added(headers: Iterable[HeaderEquals], action: str) -> Iterator[dict[str, Any]]:
    for header in headers:
        yield {
            "header": {"key": header.name, "value": header.value.replace("%", "%%")},
            "append_action": action,
        }
