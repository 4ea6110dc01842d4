"""Services and EndpointSlices by which a pool's endpointPickerRef reaches the shared pickers."""

import msgspec
from msgspec.structs import replace

from argosy.api.containers import Container
from argosy.api.discovery import SLICE_SERVICE, EndpointSlice
from argosy.api.inference import EndpointPickerRef, InferencePool, InferencePoolSpec, PickerPort, TargetPort
from argosy.api.kubernetes import LabelSelector, Pod, PodSpec, PodStatus, Service, ServicePort, ServiceSpec
from argosy.api.objects import Condition, Key, Object, ObjectMeta, encode
from argosy.base.endpoint import Endpoint
from argosy.decide.planning.changes import Change
from argosy.decide.planning.picker_references import picker_reference, picker_reference_changes
from harness.schemas import check_object

PICKERS = Key("argosy-system", "argosy-picker")
SHARED = Service(
    metadata=ObjectMeta(name=PICKERS.name, namespace=PICKERS.namespace),
    spec=ServiceSpec(selector={"app": "picker"}, ports=(ServicePort(port=9002),)),
)
REFERENCE = EndpointPickerRef(name="argosy-picker", port=PickerPort(number=9002))


def pool(namespace: str, reference: EndpointPickerRef | None = REFERENCE, *, name: str = "p") -> InferencePool:
    spec = InferencePoolSpec(
        selector=LabelSelector(match_labels={"app": "theirs"}),
        target_ports=(TargetPort(number=8000),),
        endpoint_picker_ref=reference,
    )
    return InferencePool(metadata=ObjectMeta(name=name, namespace=namespace), spec=spec)


def picker(name: str, address: str, *, ready: bool = True) -> Pod:
    condition = Condition(type="Ready", status="True" if ready else "False", reason="Test")
    return Pod(
        metadata=ObjectMeta(name=name, namespace=PICKERS.namespace, labels={"app": "picker"}),
        spec=PodSpec(containers=(Container(name="c", image="i"),)),
        status=PodStatus(phase="Running", pod_ip=address, conditions=(condition,)),
    )


BOTH = (picker("a", "10.0.0.1"), picker("b", "10.0.0.2"))


def planned(pools: list[InferencePool], observed: list[Object], pods: tuple[Pod, ...] = BOTH) -> tuple[Change, ...]:
    return picker_reference_changes(pools, pods, observed, pickers=PICKERS)


def applied(observed: list[Object], changes: tuple[Change, ...]) -> list[Object]:
    there = {(obj.KIND, obj.key): obj for obj in observed}
    for change in changes:
        name = (change.object.KIND, change.object.key)
        if change.delete:
            del there[name]
        else:
            there[name] = change.object
    return list(there.values())


def addresses(observed: list[Object], namespace: str) -> list[str]:
    slices = [obj for obj in observed if isinstance(obj, EndpointSlice) and obj.key.namespace == namespace]
    return [address for each in slices for endpoint in each.endpoints for address in endpoint.addresses]


def test_each_namespace_whose_pools_name_the_pickers_is_led_to_those_that_are_ready() -> None:
    pods = (*BOTH, picker("c", "10.0.0.3", ready=False))
    changes = planned([pool("a"), pool("a", name="q"), pool("b"), pool("c", None)], [SHARED], pods)
    assert {change.verb for change in changes} == {"create"}
    made = applied([SHARED], changes)
    assert {obj.key.namespace for obj in made} == {"argosy-system", "a", "b"}
    for namespace in ("a", "b"):
        assert addresses(made, namespace) == ["10.0.0.1", "10.0.0.2"]
    service = next(obj for obj in made if isinstance(obj, Service) and obj.key == Key("a", "argosy-picker"))
    assert service.spec.selector == {}
    assert all(obj.metadata.labels[SLICE_SERVICE] == "argosy-picker" for obj in made if isinstance(obj, EndpointSlice))
    assert planned([pool("a"), pool("b")], made) == ()
    assert planned([pool("b"), pool("a")], made[::-1]) == ()


def test_it_follows_pickers_that_come_and_go() -> None:
    made = applied([SHARED], planned([pool("a")], [SHARED]))
    made = applied(made, planned([pool("a")], made, BOTH[:1]))
    assert addresses(made, "a") == ["10.0.0.1"]
    changes = planned([pool("a")], made, ())
    assert [(change.verb, change.object.KIND) for change in changes] == [("delete", "EndpointSlice")]


def test_it_goes_with_the_last_pool_that_needs_it_and_takes_nothing_else_along() -> None:
    theirs: list[Object] = [replace(SHARED, metadata=ObjectMeta(name="other", namespace="a"))]
    made = applied([SHARED, *theirs], planned([pool("a"), pool("a", name="q")], [SHARED, *theirs]))
    assert planned([pool("a", name="q")], made) == ()
    changes = planned([pool("a", None)], made)
    assert [(change.verb, change.object.KIND) for change in changes] == [
        ("delete", "EndpointSlice"),
        ("delete", "Service"),
    ]


def test_a_strangers_service_of_that_name_is_left_as_it_is() -> None:
    theirs = Service(metadata=ObjectMeta(name="argosy-picker", namespace="a"), spec=ServiceSpec(selector={"x": "y"}))
    assert planned([pool("a")], [SHARED, theirs]) == ()


def test_pools_beside_the_pickers_need_nothing() -> None:
    assert planned([pool("argosy-system")], [SHARED]) == ()


def test_references_to_something_else_are_not_ours_to_fulfil() -> None:
    others = [
        replace(REFERENCE, name="somebody"),
        replace(REFERENCE, port=PickerPort(number=9003)),
        replace(REFERENCE, kind="Deployment"),
        replace(REFERENCE, group="example.com"),
    ]
    assert planned([pool("a", other) for other in others], [SHARED]) == ()
    for alike in (replace(REFERENCE, kind="Service", group=""), replace(REFERENCE, port=None)):
        assert planned([pool("a", alike)], [SHARED]) != ()


def test_addresses_of_each_family_and_port_have_their_slice() -> None:
    pickers = (Endpoint("10.0.0.1", 9002), Endpoint("fd00::1", 9002), Endpoint("10.0.0.2", 9100))
    _, *slices = picker_reference("a", pickers)
    assert [obj.key.name for obj in slices] == [
        "argosy-picker-ipv4-9002",
        "argosy-picker-ipv4-9100",
        "argosy-picker-ipv6-9002",
    ]


def test_what_is_made_is_valid() -> None:
    for obj in picker_reference("a", (Endpoint("10.0.0.1", 9002),)):
        check_object(msgspec.json.decode(msgspec.json.encode(encode(obj))))
