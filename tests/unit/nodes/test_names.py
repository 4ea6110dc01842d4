import pytest
from dns import flags, message, rcode

from argosy.api.discovery import SLICE_SERVICE, EndpointConditions, EndpointSlice, SliceEndpoint, SlicePort
from argosy.api.kubernetes import Service, ServicePort, ServiceSpec
from argosy.api.objects import ObjectMeta
from harness.cluster_services.names import answer, zone

PORT = ServicePort(name="http", port=80)


def service(name: str, **spec: object) -> Service:
    return Service(metadata=ObjectMeta(name=name, namespace="x"), spec=ServiceSpec(ports=(PORT,), **spec))


READY = EndpointConditions(ready=True)
NAMES = zone(
    [
        service("web", cluster_ip="10.96.0.7"),
        service("pods", cluster_ip="None"),
        service("far", external_name="web.x.svc.cluster.local"),
    ],
    [
        EndpointSlice(
            metadata=ObjectMeta(name="pods-1", namespace="x", labels={SLICE_SERVICE: "pods"}),
            address_type="IPv4",
            endpoints=(
                SliceEndpoint(addresses=("10.244.1.2",), hostname="pod-0", conditions=READY),
                SliceEndpoint(addresses=("10.244.1.3",), conditions=READY),
                SliceEndpoint(addresses=("10.244.1.4",), conditions=EndpointConditions(ready=False)),
            ),
            ports=(SlicePort(name="http", port=8000),),
        )
    ],
)


def asked(name: str, kind: str = "A") -> message.Message:
    return answer(message.make_query(f"{name}.cluster.local.", kind), NAMES)


def values(name: str, kind: str = "A") -> list[str]:
    return sorted(record.to_text() for found in asked(name, kind).answer for record in found)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("web.x.svc", "A", ["10.96.0.7"]),
        ("WEB.x.svc", "A", ["10.96.0.7"]),
        ("_http._tcp.web.x.svc", "SRV", ["0 100 80 web.x.svc.cluster.local."]),
        ("pods.x.svc", "A", ["10.244.1.2", "10.244.1.3"]),
        ("pod-0.pods.x.svc", "A", ["10.244.1.2"]),
        ("10-244-1-3.pods.x.svc", "A", ["10.244.1.3"]),
        (
            "_http._tcp.pods.x.svc",
            "SRV",
            ["0 100 8000 10-244-1-3.pods.x.svc.cluster.local.", "0 100 8000 pod-0.pods.x.svc.cluster.local."],
        ),
        ("far.x.svc", "A", ["10.96.0.7", "web.x.svc.cluster.local."]),
        ("10-244-1-9.x.pod", "A", ["10.244.1.9"]),
    ],
)
def test_names_have_the_records_that_kubernetes_gives_them(name: str, kind: str, expected: list[str]) -> None:
    assert values(name, kind) == expected


@pytest.mark.parametrize("name", ["web.x.svc", "x.svc", "svc"])
def test_a_name_that_exists_is_answered_without_records_of_another_type(name: str) -> None:
    said = asked(name, "AAAA")
    assert (said.rcode(), said.answer) == (rcode.NOERROR, [])


@pytest.mark.parametrize("name", ["no.x.svc", "web.y.svc", "pod-1.pods.x.svc", "1-2-3.x.pod", "1-2-3-999.x.pod"])
def test_any_other_name_does_not_exist(name: str) -> None:
    assert asked(name).rcode() == rcode.NXDOMAIN


def test_nothing_outside_the_cluster_exists() -> None:
    said = answer(message.make_query("example.com.", "A"), NAMES)
    assert said.rcode() == rcode.NXDOMAIN
    assert said.flags & flags.AA
