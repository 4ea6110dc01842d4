"""Who may reach whom in the installation's namespace: nobody, but for what is said here.

    anyone ──▶ Envoy's listeners     Envoy ──▶ pickers, gateways' xDS, any pod (pools may be anybody's)
    gateways ──▶ each other's xDS: which Envoys the others serve
    pickers ──▶ any pod              operator ──▶ engines and metrics of Argosy
    operator, gateway, picker ──▶ API server     everyone here ──▶ DNS     Prometheus, operator ──▶ metrics

Rules of this file:

- Policies add up: whoever needs more, such as a gateway of another maker that asks the pickers, adds one of their own.
- The API server is no pod, and stands at other addresses and ports on every cluster: it is known by its ports alone.
- Probes come from the node, which Kubernetes always lets in.
- An Envoy of a Gateway in another namespace is under that namespace's policies, not under these.
"""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from argosy.api.kubernetes import LabelSelector
from argosy.api.names import COMPONENT, ENGINE_PORT, INSTANCE, METRICS_PORT, PART_OF, PICKER_PORT, XDS_PORT
from argosy.api.objects import ObjectMeta
from argosy.api.policy import (
    NetworkPolicy,
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    NetworkPolicySpec,
)

API_SERVER_PORTS: Final = (443, 6443)
"""Where API servers usually are: at the Service's port, and at kubeadm's."""
LAST_PORT: Final = 65535
_ANYWHERE: Final = LabelSelector()
DNS: Final = NetworkPolicyEgressRule(
    ports=(NetworkPolicyPort(port=53, protocol="UDP"), NetworkPolicyPort(port=53, protocol="TCP"))
)
_ANY_POD: Final = NetworkPolicyPeer(namespace_selector=_ANYWHERE)
_LISTENERS: Final = NetworkPolicyIngressRule(
    ports=(
        NetworkPolicyPort(port=1, end_port=METRICS_PORT - 1),
        NetworkPolicyPort(port=METRICS_PORT + 1, end_port=LAST_PORT),
    )
)
"""Any port but that of metrics: which ones a Gateway has may change at any time."""
_PROMETHEUS: Final = NetworkPolicyPeer(
    namespace_selector=_ANYWHERE, pod_selector=LabelSelector(match_labels={INSTANCE: "prometheus"})
)


def component(name: str) -> NetworkPolicyPeer:
    """Give the pods of a component of Argosy, in any namespace."""
    return NetworkPolicyPeer(namespace_selector=_ANYWHERE, pod_selector=LabelSelector(match_labels=_of(name)))


def reachability(
    metadata: ObjectMeta, *, api_server_ports: Iterable[int] = API_SERVER_PORTS
) -> tuple[NetworkPolicy, ...]:
    """Give the policies of the installation's namespace. `metadata` is that of all of them; its name begins theirs."""
    to_api_server = NetworkPolicyEgressRule(ports=_ports(*api_server_ports))
    to_metrics = NetworkPolicyEgressRule(to=(_ANY_POD,), ports=_ports(METRICS_PORT, ENGINE_PORT))
    to_any_pod = NetworkPolicyEgressRule(to=(_ANY_POD,))
    scraped = NetworkPolicyIngressRule(from_=(_PROMETHEUS, component("operator")), ports=_ports(METRICS_PORT))
    configures = NetworkPolicyIngressRule(from_=(component("envoy"), component("gateway")), ports=_ports(XDS_PORT))
    to_gateways = NetworkPolicyEgressRule(to=(component("gateway"),), ports=_ports(XDS_PORT))
    picks = NetworkPolicyIngressRule(from_=(component("envoy"),), ports=_ports(PICKER_PORT))
    return (
        _policy(metadata, "default-deny", {}),
        _policy(metadata, "operator", _of("operator"), ingress=(scraped,), egress=(DNS, to_api_server, to_metrics)),
        _policy(
            metadata,
            "gateway",
            _of("gateway"),
            ingress=(scraped, configures),
            egress=(DNS, to_api_server, to_gateways),
        ),
        _policy(metadata, "picker", _of("picker"), ingress=(scraped, picks), egress=(DNS, to_api_server, to_any_pod)),
        _policy(metadata, "envoy", _of("envoy"), ingress=(scraped, _LISTENERS), egress=(DNS, to_any_pod)),
    )


def _of(name: str) -> dict[str, str]:
    return {PART_OF: "argosy", COMPONENT: name}


def _ports(*numbers: int) -> tuple[NetworkPolicyPort, ...]:
    return tuple(NetworkPolicyPort(port=number) for number in numbers)


def _policy(
    metadata: ObjectMeta,
    name: str,
    pods: dict[str, str],
    *,
    ingress: tuple[NetworkPolicyIngressRule, ...] = (),
    egress: tuple[NetworkPolicyEgressRule, ...] = (),
) -> NetworkPolicy:
    return NetworkPolicy(
        metadata=replace(metadata, name=f"{metadata.name}-{name}"),
        spec=NetworkPolicySpec(
            pod_selector=LabelSelector(match_labels=pods),
            policy_types=("Ingress", "Egress"),
            ingress=ingress,
            egress=egress,
        ),
    )
