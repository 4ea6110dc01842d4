from argosy.api.kubernetes import LoadBalancerIngress, LoadBalancerStatus, Service, ServiceSpec, ServiceStatus
from argosy.api.objects import Key, ObjectMeta
from harness.cluster_services.balancer import missing_addresses


def service(name: str, kind: str = "LoadBalancer", *addresses: str) -> Service:
    ingress = tuple(LoadBalancerIngress(ip=address) for address in addresses)
    status = ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress))
    return Service(metadata=ObjectMeta(name=name, namespace="x"), spec=ServiceSpec(type=kind), status=status)


def test_who_waits_gets_the_lowest_free_address() -> None:
    services = [service("a"), service("b", "LoadBalancer", "10.245.200.1"), service("c"), service("d", "ClusterIP")]
    assert missing_addresses(services) == {Key("x", "a"): "10.245.200.2", Key("x", "c"): "10.245.200.3"}


def test_when_all_are_given_the_rest_waits() -> None:
    assert len(missing_addresses(service(f"s{number}") for number in range(300))) == 254
