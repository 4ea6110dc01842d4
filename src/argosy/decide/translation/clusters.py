"""Envoy's clusters and their endpoints: one for each pool, one for the pickers, and one that leads nowhere."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from argosy.api.names import DESTINATION, DESTINATION_NAMESPACE
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from argosy.decide.translation.plan import GatewayPlan, PoolPlan
from argosy.decide.translation.values import (
    extension,
    from_ads,
    http1_upstream,
    http2_upstream,
    message,
    raised_limits,
    socket_address,
)

PICKERS: Final = "argosy/pickers"
NOWHERE: Final = "argosy/nowhere"
"""A cluster without endpoints: a request for an unknown model gets 503, never another model's answer."""


def pool_cluster_name(pool: Key) -> str:
    """Name the cluster of a pool."""
    return f"pool/{pool}"


class PickerTls(msgspec.Struct, frozen=True, kw_only=True):
    """How the pickers' certificates are verified: by a PEM bundle of authorities, and the name that they must hold."""

    authority: str
    name: str


def clusters(plan: GatewayPlan, *, tls: PickerTls | None = None) -> list[dict[str, Any]]:
    """Give all clusters of a Gateway."""
    return [_pickers(tls), _nowhere(), *(_pool(pool) for pool in plan.pools)]


def assignments(plan: GatewayPlan) -> list[dict[str, Any]]:
    """Give the endpoints of all clusters that get theirs by EDS."""
    pickers = [_locality([endpoint], priority) for priority, endpoint in enumerate(plan.pickers)]
    pools = [
        {"cluster_name": pool_cluster_name(pool.pool), "endpoints": [_locality(pool.endpoints)]} for pool in plan.pools
    ]
    return [{"cluster_name": PICKERS, "endpoints": pickers}, *pools]


def _pool(pool: PoolPlan) -> dict[str, Any]:
    """Give a cluster whose destination comes from metadata alone: clients can send headers, not metadata.

    The fallback policy chooses when no picker has, among the endpoints that may get requests now.
    """
    fallback = message(
        "extensions.load_balancing_policies.least_request.v3.LeastRequest", choice_count=2, locality_lb_config={}
    )
    override = message(
        "extensions.load_balancing_policies.override_host.v3.OverrideHost",
        override_host_sources=[{"metadata": {"key": DESTINATION_NAMESPACE, "path": [{"key": DESTINATION}]}}],
        fallback_policy=_policy("load_balancing_policies.least_request", fallback),
    )
    return {
        **_by_eds(pool_cluster_name(pool.pool)),
        "connect_timeout": "2s",
        "load_balancing_policy": _policy("load_balancing_policies.override_host", override),
        # uvicorn, vLLM's server, closes kept connections after 5 s; reusing one at that moment would be reset.
        "typed_extension_protocol_options": http2_upstream() if pool.http2 else http1_upstream(idle_timeout="4s"),
        # Answers may take minutes to begin, so a host that vanished is noticed here or not at all.
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 15, "keepalive_interval": 5}
        },
    }


def _pickers(tls: PickerTls | None) -> dict[str, Any]:
    """Give the cluster of the pickers; keepalive finds one that hangs, which no other timeout does."""
    return {
        **_by_eds(PICKERS),
        "connect_timeout": "1s",
        "typed_extension_protocol_options": http2_upstream(connection_keepalive={"interval": "5s", "timeout": "2s"}),
        **({} if tls is None else {"transport_socket": _verified(tls)}),
    }


def _verified(tls: PickerTls) -> dict[str, Any]:
    """Speak TLS with whoever has a certificate of that name from one of the authorities.

    A changed bundle makes the cluster anew, and ends the streams of the old one: requests that are being picked just
    then go on unpicked. It changes once in years, so the authorities have no discovery service of their own.
    """
    name = {"san_type": "DNS", "matcher": {"exact": tls.name}}
    common = {
        "alpn_protocols": ["h2"],
        "validation_context": {
            "trusted_ca": {"inline_string": tls.authority},
            "match_typed_subject_alt_names": [name],
        },
    }
    context = message("extensions.transport_sockets.tls.v3.UpstreamTlsContext", sni=tls.name, common_tls_context=common)
    return extension("transport_sockets.tls", context)


def _nowhere() -> dict[str, Any]:
    return {"name": NOWHERE, "type": "STATIC", "load_assignment": {"cluster_name": NOWHERE}}


def _by_eds(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": from_ads(), "service_name": name},
        "circuit_breakers": raised_limits(),
        # EDS holds only what may get requests; "too few healthy hosts" has no meaning beyond that.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
    }


def _policy(name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"policies": [{"typed_extension_config": extension(name, config)}]}


def _locality(endpoints: Sequence[Endpoint], priority: int = 0) -> dict[str, Any]:
    hosts = [{"endpoint": {"address": socket_address(each.address, each.port)}} for each in endpoints]
    return {"priority": priority, "lb_endpoints": hosts}
