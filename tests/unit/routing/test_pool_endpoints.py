import msgspec

from argosy.api.inference import InferencePool
from argosy.api.kubernetes import LabelSelector
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.endpoints import pool_endpoints
from argosy.decide.routing.table import Match, RouteEntry, RouteTable, WeightedPool
from harness.services import pod, pool


def test_every_target_port_of_every_running_pod_is_an_endpoint_in_order() -> None:
    pods = [pod("a", "127.1.0.2", ready=False), pod("a", "127.1.0.1"), pod("b", "127.1.0.3")]
    found = pool_endpoints(pool("a", 8000, 8001), pods)
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
    assert pool_endpoints(pool("a"), [elsewhere, nowhere, done]) == ()


def test_an_empty_selector_selects_nothing() -> None:
    given = pool("a")
    spec = msgspec.structs.replace(given.spec, selector=LabelSelector())
    everything: InferencePool = msgspec.structs.replace(given, spec=spec)
    assert pool_endpoints(everything, [pod("a", "127.1.0.1")]) == ()


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
    assert [str(e.endpoint) for e in pool_endpoints(given, [pod("a", "::1")])] == ["[::1]:8000"]
    assert Endpoint.parse("[::1]:8000") == Endpoint("::1", 8000)
