import msgspec
import pytest
from msgspec.structs import replace

from argosy.api.inference import InferencePool
from argosy.api.kubernetes import LabelSelector, Pod
from argosy.api.objects import Condition, ObjectMeta
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import PodIndex, pool_endpoints
from argosy.decide.routing.table import Match, RouteEntry, RouteTable, WeightedPool
from harness.services import pod, pool


def test_every_target_port_of_every_running_pod_is_an_endpoint_in_order() -> None:
    pods = [pod("a", "127.1.0.2", ready=False), pod("a", "127.1.0.1"), pod("b", "127.1.0.3")]
    found = pool_endpoints(pool("a", 8000, 8001), PodIndex(pods))
    assert [(str(e.endpoint), e.ready) for e in found] == [
        ("127.1.0.1:8000", True),
        ("127.1.0.1:8001", True),
        ("127.1.0.2:8000", False),
        ("127.1.0.2:8001", False),
    ]
    assert {e.pod.name for e in found} == {"a-127-1-0-1", "a-127-1-0-2"}


def test_pods_of_other_namespaces_without_address_or_not_running_are_none() -> None:
    good = pod("a", "127.1.0.1")
    elsewhere = msgspec.structs.replace(good, metadata=msgspec.structs.replace(good.metadata, namespace="other"))
    nowhere = msgspec.structs.replace(good, status=msgspec.structs.replace(good.status, pod_ip=None))
    done = msgspec.structs.replace(good, status=msgspec.structs.replace(good.status, phase="Succeeded"))
    assert pool_endpoints(pool("a"), PodIndex([elsewhere, nowhere, done])) == ()


def test_an_empty_selector_selects_nothing() -> None:
    given = pool("a")
    spec = msgspec.structs.replace(given.spec, selector=LabelSelector())
    everything: InferencePool = msgspec.structs.replace(given, spec=spec)
    assert pool_endpoints(everything, PodIndex([pod("a", "127.1.0.1")])) == ()


def test_a_table_names_the_models_that_lead_somewhere() -> None:
    def entry(model: str | None, *pools: str) -> RouteEntry:
        return RouteEntry(
            match=Match(model=model),
            route=given.key,
            pools=tuple(WeightedPool(pool=pool(name).key) for name in pools),
        )

    given = pool("a")
    table = RouteTable(entries=(entry("b", "p"), entry("a", "p"), entry("b", "q"), entry("gone"), entry(None, "p")))
    assert table.models == ("a", "b")
    assert [str(e.endpoint) for e in pool_endpoints(given, PodIndex([pod("a", "::1")]))] == ["[::1]:8000"]
    assert Endpoint.parse("[::1]:8000") == Endpoint("::1", 8000)


def test_a_pod_needs_every_label_of_the_selector() -> None:
    narrow = replace(
        pool("a"), spec=replace(pool("a").spec, selector=LabelSelector(match_labels={"app": "a", "v": "1"}))
    )
    labelled = {
        "both": {"app": "a", "v": "1", "more": "x"},
        "one": {"app": "a"},
        "other": {"app": "b", "v": "1"},
        "another": {"app": "c", "v": "1"},
    }
    pods = [
        replace(pod("x", f"127.1.0.{number}"), metadata=ObjectMeta(name=name, namespace="default", labels=labels))
        for number, (name, labels) in enumerate(labelled.items(), 1)
    ]
    assert [found.pod.name for found in pool_endpoints(narrow, PodIndex(pods))] == ["both"]


@pytest.mark.parametrize(
    ("ready", "containers", "served"),
    [
        (("False", "NodeStatusUnknown"), "True", True),
        (("Unknown", "NodeStatusUnknown"), "True", True),
        (("False", "ContainersNotReady"), "False", False),
        (("False", "ReadinessGatesNotReady"), "True", False),
        (None, "True", False),
        (("False", "NodeStatusUnknown"), None, False),
    ],
)
def test_pods_of_silent_nodes_are_asked_where_no_pod_is_ready(
    ready: tuple[str, str] | None, containers: str | None, *, served: bool
) -> None:
    said = [Condition(type="Ready", status=ready[0], reason=ready[1])] if ready else []
    said += [Condition(type="ContainersReady", status=containers, reason="Any")] if containers else []
    silent = with_conditions(pod("a", "127.1.0.1"), *said)
    assert [e.ready for e in pool_endpoints(pool("a"), PodIndex([silent]))] == [served]
    with_another = pool_endpoints(pool("a"), PodIndex([silent, pod("a", "127.1.0.2")]))
    assert [e.ready for e in with_another] == [False, True]
    going = replace(silent, metadata=replace(silent.metadata, deletion_timestamp="2026-01-01T00:00:00Z"))
    assert [e.ready for e in pool_endpoints(pool("a"), PodIndex([going]))] == [False]


def with_conditions(of: Pod, *conditions: Condition) -> Pod:
    return replace(of, status=replace(of.status, conditions=conditions))
