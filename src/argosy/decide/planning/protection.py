"""What protects a service's pods: from drains of nodes that take too many at once, and from strangers."""

from typing import Final

from argosy.api.kubernetes import LabelSelector
from argosy.api.names import COMPONENT, PART_OF, SERVICE_LABEL
from argosy.api.objects import ObjectMeta
from argosy.api.policy import (
    NetworkPolicy,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    NetworkPolicySpec,
    PodDisruptionBudget,
    PodDisruptionBudgetSpec,
)

CALLERS: Final = ("envoy", "picker", "operator")
"""Components that call engines: with requests, for their load, and for the times of their start."""


def disruption_budgets(metadata: ObjectMeta, replicas: int) -> tuple[PodDisruptionBudget, ...]:
    """Let a drain take one replica at a time; one replica alone has no budget, which would block drains for ever."""
    if replicas <= 1:
        return ()
    spec = PodDisruptionBudgetSpec(selector=_engines(metadata), max_unavailable=1)
    return (PodDisruptionBudget(metadata=metadata, spec=spec),)


def engine_reachability(metadata: ObjectMeta) -> NetworkPolicy:
    """Let Argosy's own and pods of the service's namespace reach the engines' port, and engines reach nobody."""
    everywhere = LabelSelector()
    callers = (LabelSelector(match_labels={PART_OF: "argosy", COMPONENT: component}) for component in CALLERS)
    peers = [NetworkPolicyPeer(namespace_selector=everywhere, pod_selector=caller) for caller in callers]
    rule = NetworkPolicyIngressRule(
        from_=(*peers, NetworkPolicyPeer(pod_selector=everywhere)), ports=(NetworkPolicyPort(port="http"),)
    )
    return NetworkPolicy(
        metadata=metadata,
        spec=NetworkPolicySpec(pod_selector=_engines(metadata), policy_types=("Ingress", "Egress"), ingress=(rule,)),
    )


def _engines(metadata: ObjectMeta) -> LabelSelector:
    return LabelSelector(match_labels={SERVICE_LABEL: metadata.name})
