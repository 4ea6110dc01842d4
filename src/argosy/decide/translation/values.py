"""Pieces of Envoy configuration that recur, as plain values in protobuf's JSON form."""

from typing import Any, Final

MAX_STREAMS: Final = 40_000
"""Circuit breakers toward pickers and pools. Streams live as long as answers; with Envoy's default of 1,024 requests
beyond it would silently go unpicked."""
INPUTS_FILTER: Final = "envoy.filters.http.header_mutation"
"""The filter before all others. It removes what a route configuration says: inputs of clients that nobody believes."""


def message(name: str, **fields: Any) -> dict[str, Any]:
    """Give a message that says its own type; `name` is the message's, after `envoy.`."""
    return {"@type": f"type.googleapis.com/envoy.{name}", **fields}


def extension(name: str, typed_config: dict[str, Any]) -> dict[str, Any]:
    """Give a named extension; `name` after `envoy.`."""
    return {"name": f"envoy.{name}", "typed_config": typed_config}


def socket_address(host: str, port: int | str) -> dict[str, Any]:
    """Give an address."""
    return {"socket_address": {"address": host, "port_value": port}}


def from_ads() -> dict[str, Any]:
    """Give the config source that is the one stream to `argosy gateway`."""
    return {"ads": {}, "resource_api_version": "V3"}


def http2_upstream(**fields: Any) -> dict[str, Any]:
    """Give the protocol options of a cluster that is spoken to in HTTP/2; `fields` are its HTTP/2 options."""
    return _upstream({"explicit_http_config": {"http2_protocol_options": fields}})


def http1_upstream(*, idle_timeout: str) -> dict[str, Any]:
    """Give the protocol options of a cluster that is spoken to in HTTP/1.1 over kept connections."""
    return _upstream(
        {
            "explicit_http_config": {"http_protocol_options": {}},
            "common_http_protocol_options": {"idle_timeout": idle_timeout},
        }
    )


def _upstream(fields: dict[str, Any]) -> dict[str, Any]:
    name = "extensions.upstreams.http.v3.HttpProtocolOptions"
    return {f"envoy.{name}": message(name, **fields)}


def raised_limits() -> dict[str, Any]:
    """Give circuit breakers that do not break, retries included: a dead pod is retried by everyone at once."""
    names = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"thresholds": [dict.fromkeys(names, MAX_STREAMS)]}


def retry_elsewhere(retry_on: str, retries: int) -> dict[str, Any]:
    """Give a retry policy that never asks the same host twice while there is another."""
    predicate = extension(
        "retry_host_predicates.previous_hosts",
        message("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
    )
    return {
        "retry_on": retry_on,
        "num_retries": retries,
        "retry_host_predicate": [predicate],
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.050s"},
    }
