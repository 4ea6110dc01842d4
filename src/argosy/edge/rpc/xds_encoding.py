"""Envoy's resources as bytes: plain values in protobuf's JSON form, encoded once and shared by all proxies.

Importing a message's module is what makes it known; only those that Argosy sends are imported here, since each costs
memory. A message newer than `xds-protos` can be sent as `xds.type.v3.TypedStruct`, which Envoy takes for any extension.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.config.trace.v3 import opentelemetry_pb2  # noqa: F401
from envoy.extensions.filters.http.ext_proc.v3 import ext_proc_pb2  # noqa: F401 (registers the message)
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2 as input_mutation_pb2  # noqa: F401
from envoy.extensions.filters.http.json_to_metadata.v3 import json_to_metadata_pb2  # noqa: F401
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2  # noqa: F401
from envoy.extensions.load_balancing_policies.least_request.v3 import least_request_pb2  # noqa: F401
from envoy.extensions.load_balancing_policies.override_host.v3 import override_host_pb2  # noqa: F401
from envoy.extensions.request_id.uuid.v3 import uuid_pb2  # noqa: F401
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2  # noqa: F401
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2  # noqa: F401
from envoy.extensions.tracers.opentelemetry.samplers.v3 import (
    parent_based_sampler_pb2,  # noqa: F401
    trace_id_ratio_based_sampler_pb2,  # noqa: F401
)
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
from google.protobuf import any_pb2, json_format

CLUSTERS: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ASSIGNMENTS: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENERS: Final = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES: Final = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

_MESSAGES: Final = {
    CLUSTERS: (cluster_pb2.Cluster, "name"),
    ASSIGNMENTS: (endpoint_pb2.ClusterLoadAssignment, "cluster_name"),
    LISTENERS: (listener_pb2.Listener, "name"),
    ROUTES: (route_pb2.RouteConfiguration, "name"),
}


class Encoded(NamedTuple):
    """One resource as it is sent, and what tells its content from any other's."""

    any: Any
    digest: bytes


Snapshot = Mapping[str, Mapping[str, Encoded]]
"""Resources by type URL, then by name."""


Values = Mapping[str, Iterable[Mapping[str, Any]]]
"""Resources as values, by type URL."""


class Encoding(NamedTuple):
    """Snapshots by gateway, and of each gateway that has a value that is not of its type, what is wrong with it."""

    snapshots: Mapping[str, Snapshot]
    refused: Mapping[str, str]


class Encoder:
    """Encodes the values of all gateways; those that it encoded the last time are not encoded again."""

    def __init__(self) -> None:
        self._snapshots: dict[str, Snapshot] = {}
        self._values: dict[str, dict[tuple[str, str], Mapping[str, Any]]] = {}

    def encode(self, gateways: Mapping[str, Values]) -> Encoding:
        """Give a snapshot for each gateway: its last one, or none, where a value is not of its type.

        One gateway's bad value is its own: the others go on.
        """
        refused: dict[str, str] = {}
        self._snapshots = {gateway: last for gateway, last in self._snapshots.items() if gateway in gateways}
        self._values = {gateway: self._values[gateway] for gateway in self._snapshots}
        for gateway, resources in gateways.items():
            values = {(url, each[_MESSAGES[url][1]]): each for url, every in resources.items() for each in every}
            try:
                snapshot = self._snapshot(gateway, values)
            except json_format.ParseError as error:
                refused[gateway] = str(error)
                continue
            self._snapshots[gateway], self._values[gateway] = snapshot, values
        return Encoding(dict(self._snapshots), refused)

    def _snapshot(self, gateway: str, values: Mapping[tuple[str, str], Mapping[str, Any]]) -> Snapshot:
        last, known = self._snapshots.get(gateway, {}), self._values.get(gateway, {})
        snapshot: dict[str, dict[str, Encoded]] = {url: {} for url in _MESSAGES}
        for (url, name), value in values.items():
            is_known = known.get((url, name)) == value
            snapshot[url][name] = last[url][name] if is_known else _encode(url, value)
        return snapshot


def _encode(url: str, value: Mapping[str, Any]) -> Encoded:
    message = json_format.ParseDict(value, _MESSAGES[url][0]())
    data = message.SerializeToString(deterministic=True)
    return Encoded(any_pb2.Any(type_url=url, value=data), hashlib.blake2b(data, digest_size=16).digest())


def version_of(resources: Mapping[str, Encoded]) -> str:
    """Give the version of a set of resources: a hash of names and contents."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(resources):
        digest.update(name.encode() + b"\0" + resources[name].digest)
    return digest.hexdigest()
