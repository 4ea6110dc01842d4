"""What an Envoy is started with: who it is, where its configuration comes from, and what may be asked of it.

Rules of this file:

- The admin interface can end the process and read everything, so it listens on loopback alone. `/ready` and
  `/stats/prometheus`, and nothing else of it, are passed on by a listener of their own for probes and scrapers; so is
  `/healthz`, which answers for as long as all threads turn, while `/ready` says no to an Envoy that drains.
- Addresses and ports may be placeholders `$(NAME)`, which Kubernetes, and the local runner, replace in arguments.
"""

import json
from typing import Any, Final

import msgspec

from argosy.decide.translation.values import extension, from_ads, http2_upstream, message, socket_address

ADMIN_CLUSTER: Final = "argosy/admin"
XDS_CLUSTER: Final = "argosy/xds"
CHEAP_PATH: Final = "/hot_restart_version"
"""What costs the admin interface the least to answer."""
MAX_CONNECTIONS: Final = 50_000
"""Connections from clients that one Envoy takes before it refuses more."""
MAX_HEAP_BYTES: Final = 1024 * 1024 * 1024
"""The memory limit of Envoy's container, as planned. Bodies are held whole for the picker, so clients decide how much
is used: near the limit Envoy refuses, which new requests notice, before the kernel kills, which all do."""
OVERLOAD: Final = {"disable_http_keepalive": 0.7, "stop_accepting_requests": 0.8}
"""The share of the heap at which each begins. The rest has room for what is under way: 6 of the largest bodies."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """An IP address and a port, or placeholders for them."""

    host: str
    port: int | str


def bootstrap(
    *, gateway: str, node: str, xds: Address, admin: Address, stats: Address, max_heap_bytes: int = MAX_HEAP_BYTES
) -> dict[str, Any]:
    """Give the bootstrap of an Envoy that serves one Gateway, in protobuf's JSON form.

    `gateway` is `namespace/name` of the Gateway, `node` tells this Envoy from others (a pod's name). `xds` is where
    `argosy gateway` serves ADS, `admin` must be on loopback, `stats` answers GET /ready (200 once the first
    configuration is in force), /healthz and /stats/prometheus.
    """
    # Envoy's own back-off grows to 30 s, for which a gateway that came back would go unheard.
    soon = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "2s"}}
    # Without keepalive a gateway that vanished without a FIN would leave Envoy on its last configuration for ever.
    keepalive = http2_upstream(connection_keepalive={"interval": "10s", "timeout": "5s"})
    return {
        "node": {"id": node, "cluster": gateway},
        "admin": {"address": _socket(admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": soon}}],
            },
            "cds_config": from_ads(),
            "lds_config": from_ads(),
        },
        "static_resources": {
            "listeners": [_stats_listener(stats)],
            "clusters": [
                {**_cluster(XDS_CLUSTER, xds), "typed_extension_protocol_options": keepalive},
                _cluster(ADMIN_CLUSTER, admin),
            ],
        },
        "overload_manager": _overload_manager(max_heap_bytes),
    }


def _overload_manager(max_heap_bytes: int) -> dict[str, Any]:
    connections = message(
        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=MAX_CONNECTIONS,
    )
    heap = message("extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=max_heap_bytes)
    return {
        "refresh_interval": "0.1s",
        "resource_monitors": [
            extension("resource_monitors.global_downstream_max_connections", connections),
            extension("resource_monitors.fixed_heap", heap),
        ],
        "actions": [
            {
                "name": f"envoy.overload_actions.{action}",
                "triggers": [{"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": share}}],
            }
            for action, share in OVERLOAD.items()
        ],
    }


def envoy_arguments(config: dict[str, Any], *, concurrency: int = 2) -> tuple[str, ...]:
    """Give Envoy's command line after the program's name.

    Hot restart is off: its shared memory would tie the Envoys of one machine together.
    """
    return (
        "--config-yaml",
        json.dumps(config, separators=(",", ":")),
        "--concurrency",
        str(concurrency),
        "--disable-hot-restart",
        "--log-level",
        "warning",
    )


def _socket(address: Address) -> dict[str, Any]:
    return socket_address(address.host, address.port)


def _cluster(name: str, address: Address) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _socket(address)}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def _stats_listener(stats: Address) -> dict[str, Any]:
    get = {"name": ":method", "string_match": {"exact": "GET"}}
    passed_on = {"/ready": "/ready", "/stats/prometheus": "/stats/prometheus", "/healthz": CHEAP_PATH}
    routes = [
        {
            "match": {"path": path, "headers": [get]},
            "route": {"cluster": ADMIN_CLUSTER, **({} if path == inside else {"prefix_rewrite": inside})},
        }
        for path, inside in passed_on.items()
    ]
    manager = message(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="stats",
        http_filters=[extension("filters.http.router", message("extensions.filters.http.router.v3.Router"))],
        route_config={"virtual_hosts": [{"name": "stats", "domains": ["*"], "routes": routes}]},
    )
    return {
        "name": "argosy/stats",
        "address": _socket(stats),
        "enable_reuse_port": False,
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [extension("filters.network.http_connection_manager", manager)]}],
    }
