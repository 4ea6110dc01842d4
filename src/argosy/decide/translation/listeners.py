"""Envoy's listeners: from the client's connection to the router, and the picker between.

Rules of this file:

- What a client may not say is removed before anything looks at the request: what steers always, inputs by what the
  route configuration says, so that who is trusted can change without a connection being drained.
- The picker's filter fails open: with the picker away, json_to_metadata's model leads to the model's own pool.
- Nothing here cuts an answer that is slow to begin or long: bounds are on idleness, on requests that do not come to
  their end, and on clients that stop reading.
"""

from typing import Any, Final

from argosy.api.names import (
    DESTINATION_NAMESPACE,
    LISTENER_ATTRIBUTE,
    MODEL_METADATA_KEY,
    MODEL_METADATA_NAMESPACE,
    STEERING_HEADERS,
    UPSTREAM_ATTRIBUTE,
)
from argosy.decide.translation.clusters import PICKERS
from argosy.decide.translation.local_replies import local_replies
from argosy.decide.translation.tracing import SpanCollector, traced
from argosy.decide.translation.values import INPUTS_FILTER, extension, from_ads, message, retry_elsewhere

MESSAGE_TIMEOUT = "2s"
"""How long the picker may take for one message before the request goes on without it: many times what 2,000 requests
take that come at once on a small, busy machine. A picker that died is noticed at once; one that hangs costs those that
wait for it this long, until its connection's keepalive has given it up."""
LONGEST_OVERRIDE = "300s"
"""The most that the picker may ask for before a long step."""
REQUEST_TIMEOUT_S: Final = 120.0
"""How long a request may take to arrive whole, its body held in memory meanwhile; then 408. The largest body passes at
2.3 Mbit/s. It ends with the request's last byte, so an answer may take as long as it likes."""


def listener(
    address: dict[str, Any], name: str, *, chain: str, request_timeout_s: float, spans: SpanCollector | None = None
) -> dict[str, Any]:
    """Give the listener at an address; its routes have its name. `chain` is what the picker is told of it."""
    manager = extension("filters.network.http_connection_manager", _connection_manager(name, request_timeout_s, spans))
    return {
        "name": name,
        "address": address,
        # With it, a second Envoy on the same port would share it in silence; without, it is an error that is seen.
        "enable_reuse_port": False,
        "filter_chains": [{"name": chain, "filters": [manager]}],
        "socket_options": [],
    }


def _connection_manager(name: str, request_timeout_s: float, spans: SpanCollector | None) -> dict[str, Any]:
    return message(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        rds={"config_source": from_ads(), "route_config_name": name},
        http_filters=[_untrusted_inputs(), _model_to_metadata(), _picker(), _router()],
        early_header_mutation_extensions=[_without_steering()],
        local_reply_config=local_replies(),
        server_name="argosy",
        use_remote_address=True,
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        normalize_path=True,
        request_headers_timeout="60s",
        request_timeout=f"{request_timeout_s:.3f}s",
        stream_idle_timeout="3600s",
        stream_flush_timeout="300s",
        common_http_protocol_options={"headers_with_underscores_action": "DROP_HEADER", "idle_timeout": "3600s"},
        # Proxies of the older kind speak HTTP/1.0 to what is behind them.
        http_protocol_options={"accept_http_10": True},
        http2_protocol_options={
            "max_concurrent_streams": 1024,
            "initial_stream_window_size": 1024 * 1024,
            "initial_connection_window_size": 16 * 1024 * 1024,
        },
        **traced(spans),
    )


def _without_steering() -> dict[str, Any]:
    """Remove what only picker and Envoy may say, and Envoy's own knobs: retries and timeouts are not the client's."""
    removals: list[dict[str, Any]] = [{"remove": name} for name in STEERING_HEADERS]
    removals.append({"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}})
    return extension(
        "http.early_header_mutation.header_mutation",
        message("extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation", mutations=removals),
    )


def _untrusted_inputs() -> dict[str, Any]:
    name = "extensions.filters.http.header_mutation.v3.HeaderMutation"
    return {"name": INPUTS_FILTER, "typed_config": message(name, mutations={})}


def _model_to_metadata() -> dict[str, Any]:
    rule = {
        "selectors": [{"key": "model"}],
        "on_present": {
            "metadata_namespace": MODEL_METADATA_NAMESPACE,
            "key": MODEL_METADATA_KEY,
            "type": "STRING",
        },
    }
    return extension(
        "filters.http.json_to_metadata",
        message(
            "extensions.filters.http.json_to_metadata.v3.JsonToMetadata",
            # The picker reads any body as JSON, whatever its content type says; so does its stand-in.
            request_rules={
                "rules": [rule],
                "allow_empty_content_type": True,
                "allow_content_types_regex": {"regex": ".*"},
            },
        ),
    )


def _picker() -> dict[str, Any]:
    """Call the picker once a request: its body whole, the answer's headers and end, none of the answer's body.

    That it asks for, piece by piece, where the answer is to name another model than the one that serves.
    Another picker is asked when the first is away, or cancels a stream that came just when it began to end.
    """
    untyped = {"untyped": [DESTINATION_NAMESPACE]}
    stand_by = message("extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig", update_frequency=1)
    retry = {
        **retry_elsewhere("connect-failure,refused-stream,reset,unavailable,cancelled", 2),
        "retry_priority": extension("retry_priorities.previous_priorities", stand_by),
    }
    return extension(
        "filters.http.ext_proc",
        message(
            "extensions.filters.http.ext_proc.v3.ExternalProcessor",
            grpc_service={"envoy_grpc": {"cluster_name": PICKERS}, "retry_policy": retry},
            failure_mode_allow=True,
            message_timeout=MESSAGE_TIMEOUT,
            max_message_timeout=LONGEST_OVERRIDE,
            processing_mode={
                "request_header_mode": "SEND",
                "request_body_mode": "BUFFERED",
                "request_trailer_mode": "SKIP",
                "response_header_mode": "SEND",
                "response_body_mode": "NONE",
                "response_trailer_mode": "SEND",
            },
            request_attributes=[LISTENER_ATTRIBUTE],
            response_attributes=[UPSTREAM_ATTRIBUTE],
            allow_mode_override=True,
            metadata_options={"receiving_namespaces": untyped, "forwarding_namespaces": untyped},
            mutation_rules={"allow_all_routing": True},
        ),
    )


def _router() -> dict[str, Any]:
    return extension(
        "filters.http.router",
        message("extensions.filters.http.router.v3.Router", suppress_envoy_headers=True),
    )
