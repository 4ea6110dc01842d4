from argosy.api.discovery import SLICE_SERVICE, EndpointConditions, EndpointSlice, SliceEndpoint, SlicePort
from argosy.api.kubernetes import Service, ServicePort, ServiceSpec
from argosy.api.objects import ObjectMeta
from harness.cluster_services.cluster_ips import Backend, Front, backends, rules

FRONT = Front("10.96.0.7", "tcp", 80)


def service(*ports: ServicePort, address: str = "10.96.0.7") -> Service:
    metadata = ObjectMeta(name="web", namespace="x")
    return Service(metadata=metadata, spec=ServiceSpec(cluster_ip=address, ports=ports or (ServicePort(port=80),)))


def slice_of(*endpoints: SliceEndpoint, port: SlicePort | None = None, family: str = "IPv4") -> EndpointSlice:
    metadata = ObjectMeta(name="web-1", namespace="x", labels={SLICE_SERVICE: "web"})
    ports = (port or SlicePort(port=8000),)
    return EndpointSlice(metadata=metadata, address_type=family, endpoints=endpoints, ports=ports)


def endpoint(address: str, *, ready: bool | None = True, serving: bool = False, ending: bool = False) -> SliceEndpoint:
    conditions = EndpointConditions(ready=ready, serving=serving, terminating=ending)
    return SliceEndpoint(addresses=(address,), conditions=conditions)


def test_a_port_leads_to_the_endpoints_that_are_ready() -> None:
    slices = [slice_of(endpoint("10.244.1.2"), endpoint("10.244.1.3", ready=False)), slice_of(endpoint("10.244.2.2"))]
    assert backends([service()], slices) == {FRONT: (Backend("10.244.1.2", 8000), Backend("10.244.2.2", 8000))}


def test_an_endpoint_of_which_nothing_is_known_counts_as_ready() -> None:
    unknown = SliceEndpoint(addresses=("10.244.1.2",))
    assert backends([service()], [slice_of(unknown, endpoint("10.244.1.3", ready=None))])[FRONT] == (
        Backend("10.244.1.2", 8000),
        Backend("10.244.1.3", 8000),
    )


def test_those_that_still_serve_while_they_end_are_taken_only_when_none_is_ready() -> None:
    leaving = endpoint("10.244.1.2", ready=False, serving=True, ending=True)
    assert backends([service()], [slice_of(leaving)])[FRONT] == (Backend("10.244.1.2", 8000),)
    both = [slice_of(leaving, endpoint("10.244.1.3"))]
    assert backends([service()], both)[FRONT] == (Backend("10.244.1.3", 8000),)


def test_ports_are_matched_by_name_and_protocol() -> None:
    ports = (ServicePort(name="a", port=80), ServicePort(name="b", port=53, protocol="UDP"))
    slices = [
        slice_of(endpoint("10.244.1.2"), port=SlicePort(name="a", port=8000)),
        slice_of(endpoint("10.244.1.3"), port=SlicePort(name="b", port=5353, protocol="UDP")),
        slice_of(endpoint("10.244.1.4"), port=SlicePort(name="b", port=5353, protocol="TCP")),
    ]
    assert backends([service(*ports)], slices) == {
        FRONT: (Backend("10.244.1.2", 8000),),
        Front("10.96.0.7", "udp", 53): (Backend("10.244.1.3", 5353),),
    }


def test_headless_services_and_other_families_have_no_rules() -> None:
    assert backends([service(address="None")], [slice_of(endpoint("10.244.1.2"))]) == {}
    assert backends([service()], [slice_of(endpoint("fd00::1"), family="IPv6")]) == {FRONT: ()}


def test_rules_are_the_same_for_the_same_endpoints_in_any_order_and_leave_out_ports_without() -> None:
    one, two = Backend("10.244.1.2", 8000), Backend("10.244.2.2", 8000)
    other = Front("10.96.0.8", "udp", 53)
    text = rules({other: (one,), FRONT: (one, two), Front("10.96.0.9", "tcp", 1): ()})
    assert text == rules({Front("10.96.0.9", "tcp", 1): (), FRONT: (one, two), other: (one,)})
    assert "10.96.0.7 . tcp . 80 : goto s0, 10.96.0.8 . udp . 53 : goto s1" in text
    assert "numgen random mod 2 map { 0 : 10.244.1.2 . 8000, 1 : 10.244.2.2 . 8000 }" in text
    assert "10.96.0.9" not in text
