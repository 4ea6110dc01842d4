"""Envoy's routes, made from the route table.

Rules of this file:

- In every virtual host, in this order: the pool that the picker named; the table's entries by what Envoy itself knows,
  for when no picker answers; the list of models, where no route takes it; nowhere.
- A virtual host holds, in the table's order, every entry whose hostname covers its own, so that the first match is
  the table's first match.
- Envoy knows the model from the body's metadata, never from a header that a client could set.
- Inputs of clients that nobody behind a port believes are removed before the picker sees the request, all others
  before an engine does, whether a picker answers or not.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

from argosy.api.names import (
    INPUT_HEADER_NAMES,
    MAX_BODY_BYTES,
    MODEL_HEADER,
    MODEL_METADATA_KEY,
    MODEL_METADATA_NAMESPACE,
    POOL_HEADER,
)
from argosy.api.objects import Key
from argosy.decide.routing.table import Match, RouteEntry
from argosy.decide.translation.clusters import NOWHERE, pool_cluster_name
from argosy.decide.translation.local_replies import error_body
from argosy.decide.translation.matches import covers
from argosy.decide.translation.mutations import header_changes, rewriting
from argosy.decide.translation.plan import PortPlan
from argosy.decide.translation.values import INPUTS_FILTER, message, retry_elsewhere

RETRIES = 3
RETRY_ON = "connect-failure,refused-stream,reset,retriable-status-codes"
"""What sends a request to the next endpoint, as long as its answer has not begun; the status is 503, by which a worker
says that it has done nothing for the request: it loads, drains or is full."""
_PATH_CHARACTERS = "/:@!$&'()*+,;=~"
"""What stands in a path unescaped (RFC 3986, pchar), and the slash of names such as `Qwen/Qwen3-32B`."""


def route_configuration(port: PortPlan, name: str, *, stopped: Sequence[str]) -> dict[str, Any]:
    """Give the route configuration of one port. `stopped` are the headers that the picker does not get to see."""
    hostnames = sorted({"", *(entry.match.hostname for entry in port.table.entries)})
    hosts = [_virtual_host(hostname, port.table.entries) for hostname in hostnames]
    longest = max(len(json.dumps(host)) for host in hosts)
    return {
        "name": name,
        "virtual_hosts": hosts,
        "ignore_port_in_host_matching": True,
        "max_direct_response_body_size_bytes": max(4096, longest),
        "request_headers_to_remove": list(INPUT_HEADER_NAMES),
        **({"typed_per_filter_config": {INPUTS_FILTER: _removing(stopped)}} if stopped else {}),
    }


def _removing(names: Iterable[str]) -> dict[str, Any]:
    removals = {"request_mutations": [{"remove": name} for name in names]}
    return message("extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute", mutations=removals)


def _virtual_host(hostname: str, entries: Iterable[RouteEntry]) -> dict[str, Any]:
    entries = tuple(entry for entry in entries if covers(entry.match.hostname, hostname))
    return {
        "name": hostname or "*",
        "domains": [hostname or "*"],
        "request_body_buffer_limit": MAX_BODY_BYTES,
        "retry_policy": {**retry_elsewhere(RETRY_ON, RETRIES), "retriable_status_codes": [503]},
        "routes": [
            *_picked(entries),
            *(_unpicked(entry) for entry in entries),
            *_models(entries),
            {"match": {"prefix": "/"}, **_to_cluster(NOWHERE)},
        ],
    }


def _models(entries: Iterable[RouteEntry]) -> Iterator[dict[str, Any]]:
    """List the models, and describe each, in OpenAI's form, whether a picker answers or not."""
    names = sorted({entry.match.model for entry in entries if entry.match.model is not None and entry.pools})
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "argosy"} for name in names]
    yield _document("/v1/models", {"object": "list", "data": models})
    for model in models:
        yield _document(f"/v1/models/{quote(str(model['id']), safe=_PATH_CHARACTERS)}", model)


def _document(path: str, content: dict[str, Any]) -> dict[str, Any]:
    off = message("extensions.filters.http.ext_proc.v3.ExtProcPerRoute", disabled=True)
    return {
        "match": {
            "path": path,
            "headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}],
        },
        **_direct_response(200, json.dumps(content)),
        "typed_per_filter_config": {"envoy.filters.http.ext_proc": off},
    }


def _picked(entries: tuple[RouteEntry, ...]) -> Iterator[dict[str, Any]]:
    """Follow the pool that the picker named.

    Where some entry does more than lead there, the entry that the picker matched is found again, in order, by the
    model's header, which the picker sets too.
    """
    if not all(entry.only_routes for entry in entries):
        for entry in entries:
            for pool in entry.pools:
                conditions = _conditions(entry.match, model_header=True)
                conditions.setdefault("headers", []).append(_equals(POOL_HEADER, str(pool.pool)))
                yield {"match": conditions, **_to_cluster(pool_cluster_name(pool.pool), entry)}
    for key in sorted({pool.pool for entry in entries for pool in entry.pools}):
        match = {"prefix": "/", "headers": [_equals(POOL_HEADER, str(key))]}
        yield {"match": match, **_to_cluster(pool_cluster_name(key))}


def _unpicked(entry: RouteEntry) -> dict[str, Any]:
    match = _conditions(entry.match, model_header=False)
    positive = [(pool.pool, pool.weight) for pool in entry.pools if pool.weight > 0]
    if not positive:
        return {
            "match": match,
            **_direct_response(500, error_body("no backend of this route can be reached", "server_error", 500)),
        }
    if len(positive) == 1:
        return {"match": match, **_to_cluster(pool_cluster_name(positive[0][0]), entry)}
    weighted = [{"name": pool_cluster_name(pool), "weight": weight} for pool, weight in _joined(positive)]
    return {"match": match, **_action({"weighted_clusters": {"clusters": weighted}}, entry)}


def _joined(weighted: Iterable[tuple[Key, int]]) -> list[tuple[Key, int]]:
    weights: dict[Key, int] = {}
    for pool, weight in weighted:
        weights[pool] = weights.get(pool, 0) + weight
    return list(weights.items())


def _conditions(match: Match, *, model_header: bool) -> dict[str, Any]:
    headers = [_equals(header.name, header.value) for header in match.headers]
    if match.method:
        headers.append(_equals(":method", match.method))
    if match.model is not None and model_header:
        headers.append(_equals(MODEL_HEADER, match.model))
    if match.path_exact:
        conditions: dict[str, Any] = {"path": match.path}
    elif match.path == "/":
        conditions = {"prefix": "/"}
    else:
        conditions = {"path_separated_prefix": match.path}
    if headers:
        conditions["headers"] = headers
    if match.model is not None and not model_header:
        conditions["dynamic_metadata"] = [
            {
                "filter": MODEL_METADATA_NAMESPACE,
                "path": [{"key": MODEL_METADATA_KEY}],
                "value": {"string_match": {"exact": match.model}},
            }
        ]
    return conditions


def _equals(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "string_match": {"exact": value}}


def _to_cluster(name: str, entry: RouteEntry | None = None) -> dict[str, Any]:
    return _action({"cluster": name}, entry)


def _action(where: dict[str, Any], entry: RouteEntry | None) -> dict[str, Any]:
    """Give what a route does: where requests go, in what time, and what an entry changes of them.

    Envoy's own default of 15 s would cut answers; 0 is none. The longest that a route can say, 46 years, is within what
    protobuf and Envoy (292 years) take.
    """
    timeout = {"timeout": f"{entry.timeout_s or 0:.3f}s" if entry else "0.000s"}
    if entry is None:
        return {"route": {**where, **timeout}}
    return {"route": {**where, **timeout, **rewriting(entry)}, **header_changes(entry.changes)}


def _direct_response(status: int, body: str) -> dict[str, Any]:
    header = {"key": "content-type", "value": "application/json"}
    return {
        "direct_response": {"status": status, "body": {"inline_string": body}},
        "response_headers_to_add": [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
    }
