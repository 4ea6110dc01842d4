"""What an Envoy is started with: who it is, where its configuration comes from, and what may be asked of it.

Rules of this file:

- The admin interface can end the process and read everything, so it listens on loopback alone. `/ready` and
  `/stats/prometheus`, and nothing else of it, are passed on by a listener of their own for probes and scrapers.
- Addresses and ports may be placeholders `$(NAME)`, which Kubernetes, and the local runner, replace in arguments.
"""

import json
from typing import Any, Final

import msgspec

ADMIN_CLUSTER: Final = "argosy/admin"
XDS_CLUSTER: Final = "argosy/xds"
MAX_CONNECTIONS: Final = 50_000
"""Connections from clients that one Envoy takes before it refuses more."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """An IP address and a port, or placeholders for them."""

    host: str
    port: int | str


def bootstrap(*, gateway: str, node: str, xds: Address, admin: Address, stats: Address) -> dict[str, Any]:
    """Give the bootstrap of an Envoy that serves one Gateway, in protobuf's JSON form.

    `gateway` is `namespace/name` of the Gateway, `node` tells this Envoy from others (a pod's name). `xds` is where
    `argosy gateway` serves ADS, `admin` must be on loopback, `stats` answers GET /ready (200 once the first
    configuration is in force) and /stats/prometheus.
    """
    ads = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": node, "cluster": gateway},
        "admin": {"address": _socket(admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER}}],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {
            "listeners": [_stats_listener(stats)],
            "clusters": [_cluster(XDS_CLUSTER, xds, http2=True), _cluster(ADMIN_CLUSTER, admin, http2=False)],
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3"
                        ".DownstreamConnectionsConfig",
                        "max_active_downstream_connections": MAX_CONNECTIONS,
                    },
                }
            ]
        },
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
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def _cluster(name: str, address: Address, *, http2: bool) -> dict[str, Any]:
    cluster: dict[str, Any] = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket(address)}}]}],
        },
    }
    if http2:
        # Without keepalive a peer that vanished without a FIN would leave Envoy on its last configuration for ever.
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    "http2_protocol_options": {"connection_keepalive": {"interval": "10s", "timeout": "5s"}}
                },
            }
        }
    return cluster


def _stats_listener(stats: Address) -> dict[str, Any]:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }
    get = {"name": ":method", "string_match": {"exact": "GET"}}
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": "stats",
        "http_filters": [router],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "stats",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"path": path, "headers": [get]}, "route": {"cluster": ADMIN_CLUSTER}}
                        for path in ("/ready", "/stats/prometheus")
                    ],
                }
            ]
        },
    }
    return {
        "name": "argosy/stats",
        "address": _socket(stats),
        "enable_reuse_port": False,
        "ignore_global_conn_limit": True,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
