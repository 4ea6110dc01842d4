"""Policies over pods: PodDisruptionBudget (policy/v1) and NetworkPolicy (networking.k8s.io/v1)."""

from typing import ClassVar

import msgspec

from argosy.api.kubernetes import LabelSelector
from argosy.api.objects import Object, Value


class PodDisruptionBudgetSpec(Value, frozen=True, kw_only=True):
    """How many of the pods a drain of nodes leaves at least, or takes at most."""

    selector: LabelSelector
    min_available: int | str | None = None
    max_unavailable: int | str | None = None


class PodDisruptionBudget(Object, frozen=True, kw_only=True):
    """What a drain of nodes must leave."""

    API_VERSION: ClassVar[str] = "policy/v1"
    KIND: ClassVar[str] = "PodDisruptionBudget"
    PLURAL: ClassVar[str] = "poddisruptionbudgets"

    spec: PodDisruptionBudgetSpec


class NetworkPolicyPort(Value, frozen=True, kw_only=True):
    """A port by number or the container port's name, or all from `port` to `end_port`; TCP unless said otherwise."""

    port: int | str | None = None
    end_port: int | None = None
    protocol: str | None = None


class IPBlock(Value, frozen=True, kw_only=True):
    """Addresses in CIDR notation, less those excepted."""

    cidr: str
    except_: tuple[str, ...] = msgspec.field(default=(), name="except")


class NetworkPolicyPeer(Value, frozen=True, kw_only=True):
    """Pods by labels, of this namespace or of those chosen by labels; or addresses."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class NetworkPolicyIngressRule(Value, frozen=True, kw_only=True):
    """Who may come in, at which ports; all where nothing is said."""

    from_: tuple[NetworkPolicyPeer, ...] = msgspec.field(default=(), name="from")
    ports: tuple[NetworkPolicyPort, ...] = ()


class NetworkPolicyEgressRule(Value, frozen=True, kw_only=True):
    """Who may be reached, at which ports; all where nothing is said."""

    to: tuple[NetworkPolicyPeer, ...] = ()
    ports: tuple[NetworkPolicyPort, ...] = ()


class NetworkPolicySpec(Value, frozen=True, kw_only=True):
    """Of the chosen pods, nothing but what the rules allow, for each type named."""

    pod_selector: LabelSelector
    policy_types: tuple[str, ...]
    ingress: tuple[NetworkPolicyIngressRule, ...] = ()
    egress: tuple[NetworkPolicyEgressRule, ...] = ()


class NetworkPolicy(Object, frozen=True, kw_only=True):
    """Who may reach whom."""

    API_VERSION: ClassVar[str] = "networking.k8s.io/v1"
    KIND: ClassVar[str] = "NetworkPolicy"
    PLURAL: ClassVar[str] = "networkpolicies"

    spec: NetworkPolicySpec
