"""Which endpoints a pool has: its selector over pods, times its target ports."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod
from argosy.api.names import BOTH_ROLES, DECODE_ROLE, KV_LAYOUT_LABEL, MODELS_ANNOTATION, PREFILL_ROLE, ROLE_LABEL
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint


class PoolEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint of a pool and the pod behind it."""

    endpoint: Endpoint
    pod: Key
    ready: bool
    """Whether it may get requests; see `servable`."""
    labels: dict[str, str]
    models: frozenset[str] = frozenset()
    """The names that it answers to; any where there is none."""
    leaving: bool = False
    """Whether it finishes what it has begun, and ends then."""
    has_sidecar: bool = False
    """Whether llm-d's routing sidecar stands before its engine, and runs prefill legs itself."""

    @property
    def answers(self) -> bool:
        """Whether it can serve a whole request."""
        return self.labels.get(ROLE_LABEL) != PREFILL_ROLE

    @property
    def decodes(self) -> bool:
        """Whether it can go on from a prompt that another has computed."""
        return self.labels.get(ROLE_LABEL) in (DECODE_ROLE, BOTH_ROLES)

    @property
    def prefills(self) -> bool:
        """Whether it computes prompts for others."""
        return self.labels.get(ROLE_LABEL) in (PREFILL_ROLE, BOTH_ROLES)

    @property
    def kv_layout(self) -> str:
        """What its KV cache depends on; caches move between equal ones only."""
        return self.labels.get(KV_LAYOUT_LABEL, "")


def models_of(pod: Pod) -> frozenset[str]:
    """Give the names that a pod's engine answers to, if the pod says so."""
    return frozenset(pod.metadata.annotations.get(MODELS_ANNOTATION, "").split())


def servable(pods: Sequence[Pod]) -> list[Pod]:
    """Give the pods that may get requests: the ready ones, or where no pod is ready, those whose node is only silent.

    A control plane that was away for a minute finds all nodes silent when it returns, and calls all their pods not
    ready, while they work as ever; and if they do not, nothing is lost by asking.
    """
    return [pod for pod in pods if pod.ready] or [pod for pod in pods if pod.unheard]


class PodIndex:
    """Pods that run and have an address, found by namespace and labels: a cluster has thousands, and so many pools."""

    def __init__(self, pods: Iterable[Pod]) -> None:
        self._by_label: defaultdict[tuple[str | None, str, str], list[Pod]] = defaultdict(list)
        for pod in pods:
            if pod.status.pod_ip is not None and pod.status.phase == "Running":
                for name, value in pod.metadata.labels.items():
                    self._by_label[pod.metadata.namespace, name, value].append(pod)

    def having(self, namespace: str | None, labels: Mapping[str, str]) -> Iterator[Pod]:
        """Give the pods of a namespace that have all these labels; none where there are no labels."""
        candidates = [self._by_label.get((namespace, name, value), []) for name, value in labels.items()]
        for pod in min(candidates, key=len, default=[]):
            if labels.items() <= pod.metadata.labels.items():
                yield pod


def pool_endpoints(pool: InferencePool, pods: PodIndex) -> tuple[PoolEndpoint, ...]:
    """Give the endpoints of the pool's pods that have an address, ready or not, ordered by endpoint.

    A selector selects in the pool's own namespace only, as a Service's does (InferencePool v1). An empty selector
    selects nothing.
    """
    mine = list(pods.having(pool.metadata.namespace, pool.spec.selector.match_labels))
    able = {pod.key for group in _by_answering(mine) for pod in servable(group)}
    found = [
        PoolEndpoint(
            endpoint=Endpoint(pod.status.pod_ip or "", port.number),
            pod=pod.key,
            ready=pod.key in able,
            labels=pod.metadata.labels,
            models=models_of(pod),
            leaving=pod.metadata.deletion_timestamp is not None,
            has_sidecar=_has_sidecar(pod),
        )
        for pod in mine
        for port in pool.spec.target_ports
    ]
    return tuple(sorted(found, key=lambda e: e.endpoint))


def _by_answering(pods: Sequence[Pod]) -> tuple[list[Pod], list[Pod]]:
    """Tell pods that can answer from those that cannot: neither kind stands in for the other."""
    prefilling = [pod for pod in pods if pod.metadata.labels.get(ROLE_LABEL) == PREFILL_ROLE]
    return [pod for pod in pods if pod.metadata.labels.get(ROLE_LABEL) != PREFILL_ROLE], prefilling


def _has_sidecar(pod: Pod) -> bool:
    """Say whether llm-d's routing sidecar is in a pod, by the names that its charts and images have."""
    return any(
        each.name == "routing-proxy" or "routing-sidecar" in each.image or "pd-sidecar" in each.image
        for each in (*pod.spec.init_containers, *pod.spec.containers)
    )
