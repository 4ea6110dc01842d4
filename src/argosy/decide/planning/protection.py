"""What protects a service's pods: from drains of nodes that take too many at once, and from strangers."""

from collections.abc import Iterable
from typing import Final

from argosy.api.kubernetes import Deployment, LabelSelector
from argosy.api.names import COMPONENT, PART_OF, SERVICE_LABEL, WORKERS_LABEL
from argosy.api.objects import ObjectMeta
from argosy.api.policy import (
    NetworkPolicy,
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    NetworkPolicySpec,
    PodDisruptionBudget,
    PodDisruptionBudgetSpec,
)
from argosy.decide.planning.reachability import DNS

FETCHING: Final = (DNS, NetworkPolicyEgressRule(ports=(NetworkPolicyPort(port=443),)))
"""A hub may be at any address."""
CALLERS: Final = ("envoy", "picker", "operator")
"""Components that call engines: with requests, for their load, and for the times of their start."""


def disruption_budget(deployment: Deployment) -> tuple[PodDisruptionBudget, ...]:
    """Let a drain take one replica at a time; one replica alone has no budget, which would block drains for ever.

    No pod has two: Kubernetes would evict it by none.
    """
    if deployment.spec.replicas <= 1:
        return ()
    labels = deployment.spec.template.metadata.labels
    mine = LabelSelector(match_labels={name: labels[name] for name in (SERVICE_LABEL, WORKERS_LABEL)})
    spec = PodDisruptionBudgetSpec(selector=mine, max_unavailable=1)
    return (PodDisruptionBudget(metadata=deployment.metadata, spec=spec),)


def engine_reachability(metadata: ObjectMeta, peer_ports: Iterable[int], *, fetches: bool = False) -> NetworkPolicy:
    """Let Argosy's own and pods of the service's namespace reach the engines' port, and engines reach one another.

    What one engine hands over to another, none but they may fetch: it is what clients have written. They reach one
    another at `peer_ports`, at all where there is none. They reach nothing else, unless one `fetches` weights.
    """
    everywhere = LabelSelector()
    callers = (LabelSelector(match_labels={PART_OF: "argosy", COMPONENT: component}) for component in CALLERS)
    askers = [NetworkPolicyPeer(namespace_selector=everywhere, pod_selector=caller) for caller in callers]
    rule = NetworkPolicyIngressRule(
        from_=(*askers, NetworkPolicyPeer(pod_selector=everywhere)), ports=(NetworkPolicyPort(port="http"),)
    )
    engines = LabelSelector(match_labels={SERVICE_LABEL: metadata.name})
    peers, handed = (NetworkPolicyPeer(pod_selector=engines),), tuple(NetworkPolicyPort(port=n) for n in peer_ports)
    return NetworkPolicy(
        metadata=metadata,
        spec=NetworkPolicySpec(
            pod_selector=engines,
            policy_types=("Ingress", "Egress"),
            ingress=(rule, NetworkPolicyIngressRule(from_=peers, ports=handed)),
            egress=(NetworkPolicyEgressRule(to=peers, ports=handed), *(FETCHING if fetches else ())),
        ),
    )
