"""Who reaches whom, computed from NetworkPolicies as the API documents them (networking.k8s.io/v1).

A pod is isolated, for a direction, once a policy of its namespace selects it for that direction; then only what some
such policy allows gets through. A connection needs both its ends' consent.
"""

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from argosy.api.kubernetes import LabelSelector, PodTemplateSpec
from argosy.api.policy import (
    NetworkPolicy,
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
)


class Place(NamedTuple):
    """A pod, or, without a namespace, an address outside of all of them."""

    name: str
    address: str
    namespace: str = ""
    labels: Mapping[str, str] = {}
    ports: Mapping[str, int] = {}


def pod_of(template: PodTemplateSpec, *, namespace: str, name: str, address: str) -> Place:
    """Give a pod of a template."""
    ports = {port.name: port.container_port for c in template.spec.containers for port in c.ports if port.name}
    return Place(name, address, namespace, template.metadata.labels, ports)


class Cluster(NamedTuple):
    """All policies, and the labels of namespaces beside the name's own."""

    policies: tuple[NetworkPolicy, ...]
    namespaces: Mapping[str, Mapping[str, str]] = {}

    def reaches(self, source: Place, target: Place, port: int, *, protocol: str = "TCP") -> bool:
        """Say whether a connection from one to the other's port gets through."""
        leaves = self._consents(source, "Egress", target, target, port, protocol)
        return leaves and self._consents(target, "Ingress", source, target, port, protocol)

    def _consents(self, who: Place, kind: str, other: Place, target: Place, port: int, protocol: str) -> bool:
        policies = [policy for policy in self._of(who) if kind in policy.spec.policy_types]
        if not policies:
            return True
        return any(
            self._is_peer(peers, other, policy) and _is_port(ports, target, port, protocol)
            for policy in policies
            for peers, ports in _rules(policy, kind)
        )

    def _of(self, place: Place) -> Iterator[NetworkPolicy]:
        for policy in self.policies:
            if policy.metadata.namespace == place.namespace and _selects(policy.spec.pod_selector, place.labels):
                yield policy

    def _is_peer(self, peers: Iterable[NetworkPolicyPeer], place: Place, policy: NetworkPolicy) -> bool:
        found = tuple(peers)
        return not found or any(self._matches(peer, place, policy) for peer in found)

    def _matches(self, peer: NetworkPolicyPeer, place: Place, policy: NetworkPolicy) -> bool:
        if peer.ip_block is not None:
            address = ipaddress.ip_address(place.address)
            return address in ipaddress.ip_network(peer.ip_block.cidr) and not any(
                address in ipaddress.ip_network(cidr) for cidr in peer.ip_block.except_
            )
        if not place.namespace:
            return False
        if peer.namespace_selector is None:
            at_home = place.namespace == policy.metadata.namespace
        else:
            labels = {"kubernetes.io/metadata.name": place.namespace, **self.namespaces.get(place.namespace, {})}
            at_home = _selects(peer.namespace_selector, labels)
        return at_home and (peer.pod_selector is None or _selects(peer.pod_selector, place.labels))


def _rules(policy: NetworkPolicy, kind: str) -> Iterator[tuple[tuple[NetworkPolicyPeer, ...], tuple[Any, ...]]]:
    peers: Callable[[Any], tuple[NetworkPolicyPeer, ...]]
    rules: tuple[NetworkPolicyIngressRule | NetworkPolicyEgressRule, ...]
    if kind == "Ingress":
        rules, peers = policy.spec.ingress, lambda rule: rule.from_
    else:
        rules, peers = policy.spec.egress, lambda rule: rule.to
    for rule in rules:
        yield peers(rule), rule.ports


def _is_port(allowed: Iterable[NetworkPolicyPort], target: Place, port: int, protocol: str) -> bool:
    found = tuple(allowed)
    return not found or any((each.protocol or "TCP") == protocol and _includes(each, target, port) for each in found)


def _includes(allowed: NetworkPolicyPort, target: Place, port: int) -> bool:
    if allowed.port is None:
        return True
    first = target.ports.get(allowed.port) if isinstance(allowed.port, str) else allowed.port
    return first is not None and first <= port <= (allowed.end_port or first)


def _selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    return selector.match_labels.items() <= labels.items()
