"""Who reaches whom, from all policies that Argosy makes: a table, one line for each way."""

import pytest

from argosy.api.gateway import Gateway
from argosy.api.kubernetes import Deployment, LabelSelector, Service
from argosy.api.names import ENGINE_PORT, METRICS_PORT, PICKER_PORT, SYSTEM_NAMESPACE, XDS_PORT
from argosy.api.objects import ObjectMeta
from argosy.api.policy import IPBlock, NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicySpec
from argosy.decide.planning.components import OnCluster
from argosy.decide.planning.installation import Installation, installation_objects
from argosy.decide.planning.plan import plan
from argosy.decide.planning.proxies import ProxySettings, proxy_objects
from argosy.decide.planning.reachability import reachability
from harness.reachability import Cluster, Place, pod_of
from harness.specs import service

METADATA = ObjectMeta(name="argosy", namespace=SYSTEM_NAMESPACE)
INSTALLED = installation_objects(Installation(cluster=OnCluster()))
PLANNED = plan([service(name="ours", namespace="models")]).objects
GATEWAY_OBJECT = next(obj for obj in INSTALLED if isinstance(obj, Gateway))
CONTROLLER = next(obj for obj in INSTALLED if isinstance(obj, Service) and obj.metadata.name == "argosy-gateway")
PROXIES = proxy_objects(GATEWAY_OBJECT, CONTROLLER, ProxySettings(controller=CONTROLLER.key))
TEMPLATES = {
    obj.metadata.name: obj.spec.template for obj in (*PLANNED, *INSTALLED, *PROXIES) if isinstance(obj, Deployment)
}
CLUSTER = Cluster(
    policies=tuple(obj for obj in (*INSTALLED, *PLANNED) if isinstance(obj, NetworkPolicy)),
    namespaces={"models": {"team": "a"}},
)


def argosy(name: str, namespace: str = SYSTEM_NAMESPACE) -> Place:
    return pod_of(TEMPLATES[name], namespace=namespace, name=name, address="10.0.0.1")


def pod(name: str, namespace: str, labels: dict[str, str] | None = None) -> Place:
    return Place(name, "10.0.0.2", namespace, labels or {})


OPERATOR, GATEWAY, PICKER, ENVOY = (argosy(f"argosy-{name}") for name in ("operator", "gateway", "picker", "envoy"))
ENVOY_ELSEWHERE = argosy("argosy-envoy", "edge")
ENGINE = argosy("ours", "models")
ADOPTED = pod("adopted", "theirs", {"app": "vllm"})
NEIGHBOUR = pod("neighbour", "models")
STRANGER = pod("stranger", "theirs")
INTRUDER = pod("intruder", SYSTEM_NAMESPACE)
PROMETHEUS = pod("prometheus", "monitoring", {"app.kubernetes.io/name": "prometheus"})
DNS = pod("dns", "kube-system")
CLIENT = Place("client", "203.0.113.7")
API_SERVER = Place("api server", "172.18.0.2")

REACHES = [
    (CLIENT, ENVOY, 8080),
    (CLIENT, ENVOY, 10443),
    (STRANGER, ENVOY, 8080),
    (CLIENT, ENVOY_ELSEWHERE, 8080),
    *((who, GATEWAY, XDS_PORT) for who in (ENVOY, ENVOY_ELSEWHERE, GATEWAY)),
    *((envoy, PICKER, PICKER_PORT) for envoy in (ENVOY, ENVOY_ELSEWHERE)),
    *((who, ENGINE, ENGINE_PORT) for who in (ENVOY, ENVOY_ELSEWHERE, PICKER, OPERATOR, NEIGHBOUR)),
    *((who, ADOPTED, 8000) for who in (ENVOY, PICKER)),
    *((PROMETHEUS, whom, METRICS_PORT) for whom in (OPERATOR, GATEWAY, PICKER, ENVOY)),
    *((OPERATOR, whom, METRICS_PORT) for whom in (GATEWAY, PICKER, ENVOY)),
    *((who, API_SERVER, port) for who in (OPERATOR, GATEWAY, PICKER) for port in (443, 6443)),
    *((who, DNS, 53) for who in (OPERATOR, GATEWAY, PICKER, ENVOY)),
]
DOES_NOT_REACH = [
    (CLIENT, PICKER, PICKER_PORT),
    (CLIENT, GATEWAY, XDS_PORT),
    (CLIENT, ENGINE, ENGINE_PORT),
    (CLIENT, ENVOY, METRICS_PORT),
    *((who, PICKER, PICKER_PORT) for who in (STRANGER, INTRUDER, ENGINE, GATEWAY, OPERATOR)),
    *((who, GATEWAY, XDS_PORT) for who in (STRANGER, INTRUDER, ENGINE, PICKER, OPERATOR)),
    *((who, ENGINE, ENGINE_PORT) for who in (STRANGER, INTRUDER, GATEWAY)),
    *((who, ENGINE, 22) for who in (ENVOY, PICKER, OPERATOR, NEIGHBOUR)),
    *((STRANGER, whom, METRICS_PORT) for whom in (OPERATOR, GATEWAY, PICKER, ENVOY)),
    *((ENGINE, whom, port) for whom, port in ((API_SERVER, 443), (CLIENT, 443), (ADOPTED, 8000), (DNS, 53))),
    (ENVOY, API_SERVER, 443),
    (ENVOY, CLIENT, 80),
    (GATEWAY, ADOPTED, 8000),
    (OPERATOR, ADOPTED, 8000),
    (PICKER, CLIENT, 80),
    (INTRUDER, API_SERVER, 443),
]


def name(way: tuple[Place, Place, int]) -> str:
    return f"{way[0].name} to {way[1].name}:{way[2]}"


@pytest.mark.parametrize("way", REACHES, ids=name)
def test_whoever_must_be_reached_is(way: tuple[Place, Place, int]) -> None:
    assert CLUSTER.reaches(*way)


@pytest.mark.parametrize("way", DOES_NOT_REACH, ids=name)
def test_nobody_else_is_reached(way: tuple[Place, Place, int]) -> None:
    assert not CLUSTER.reaches(*way)


def test_names_are_asked_for_over_udp_too() -> None:
    assert CLUSTER.reaches(PICKER, DNS, 53, protocol="UDP")
    assert not CLUSTER.reaches(PICKER, API_SERVER, 443, protocol="UDP")


def test_an_api_server_at_another_port_is_reached_when_it_is_named() -> None:
    assert not CLUSTER.reaches(OPERATOR, API_SERVER, 16443)
    told = Cluster(policies=reachability(METADATA, api_server_ports=(16443,)))
    assert told.reaches(OPERATOR, API_SERVER, 16443)


def test_addresses_and_namespaces_by_label_are_understood() -> None:
    """The evaluator knows more than the installation uses, for policies that users add."""

    def allowing(*peers: NetworkPolicyPeer) -> Cluster:
        spec = NetworkPolicySpec(
            pod_selector=LabelSelector(), policy_types=("Ingress",), ingress=(NetworkPolicyIngressRule(from_=peers),)
        )
        return CLUSTER._replace(policies=(NetworkPolicy(metadata=METADATA, spec=spec),))

    by_address = allowing(NetworkPolicyPeer(ip_block=IPBlock(cidr="203.0.113.0/24", except_=("203.0.113.64/26",))))
    assert by_address.reaches(CLIENT, PICKER, 1)
    assert not by_address.reaches(CLIENT._replace(address="203.0.113.70"), PICKER, 1)
    assert not by_address.reaches(STRANGER, PICKER, 1)
    by_team = allowing(NetworkPolicyPeer(namespace_selector=LabelSelector(match_labels={"team": "a"})))
    assert by_team.reaches(NEIGHBOUR, PICKER, 1)
    assert not by_team.reaches(STRANGER, PICKER, 1)
    assert not by_team.reaches(CLIENT, PICKER, 1)
