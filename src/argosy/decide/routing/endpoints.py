"""Which endpoints a pool has: its selector over pods, times its target ports."""

from collections.abc import Iterable

import msgspec

from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint


class PoolEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint of a pool and the pod behind it."""

    endpoint: Endpoint
    pod: Key
    ready: bool
    labels: dict[str, str]


def pool_endpoints(pool: InferencePool, pods: Iterable[Pod]) -> tuple[PoolEndpoint, ...]:
    """Give the endpoints of the pool's pods that have an address, ready or not, ordered by endpoint.

    A selector selects in the pool's own namespace only, as a Service's does (InferencePool v1). An empty selector
    selects nothing.
    """
    wanted = pool.spec.selector.match_labels.items()
    found = [
        PoolEndpoint(
            endpoint=Endpoint(pod.status.pod_ip, port.number),
            pod=pod.key,
            ready=pod.ready,
            labels=pod.metadata.labels,
        )
        for pod in pods
        if wanted
        and pod.metadata.namespace == pool.metadata.namespace
        and pod.status.pod_ip is not None
        and pod.status.phase == "Running"
        and wanted <= pod.metadata.labels.items()
        for port in pool.spec.target_ports
    ]
    return tuple(sorted(found, key=lambda e: e.endpoint))
