"""Envoys of Gateways: golden pairs in proxydata/ (ARGOSY_UPDATE_GOLDEN=1 writes them anew), and what comes and goes."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from msgspec.structs import replace

from argosy.api.gateway import Gateway, GatewayAddress, GatewaySpec, Listener
from argosy.api.kubernetes import Deployment, Service, ServicePort, ServiceSpec
from argosy.api.names import MANAGED_BY
from argosy.api.objects import Key, Object, ObjectMeta, decode, encode
from argosy.decide.planning.changes import Change
from argosy.decide.planning.proxies import KINDS, OWNER, ProxySettings, proxy_objects, proxy_plan
from argosy.decide.translation.infrastructure import bound_ports, label_of, proxy_name
from harness.schemas import check_object

DATA = Path(__file__).parent / "proxydata"
INPUTS = sorted(DATA.glob("*.in.yaml"))
CONTROLLER = Key("argosy-system", "argosy-gateway")
SETTINGS = ProxySettings(controller=CONTROLLER)
LEADING_THERE = Service(
    metadata=ObjectMeta(name=CONTROLLER.name, namespace=CONTROLLER.namespace),
    spec=ServiceSpec(cluster_ip="10.96.0.7", ports=(ServicePort(port=18000),)),
)


def gateway(name: str = "edge", *, uid: str = "g-1", port: int = 80, protocol: str = "HTTP") -> Gateway:
    listener = Listener(name="http", port=port, protocol=protocol)
    return Gateway(
        metadata=ObjectMeta(name=name, namespace="team-a", uid=uid),
        spec=GatewaySpec(gateway_class_name="argosy", listeners=(listener,)),
    )


def proxy_changes(
    gateways: Iterable[Gateway], observed: Iterable[Object], settings: ProxySettings
) -> tuple[Change, ...]:
    planned = proxy_plan(gateways, observed, settings)
    assert planned.obstacles == {}
    return planned.changes


def applied(observed: list[Object], changes: tuple[Change, ...]) -> list[Object]:
    there = {(obj.KIND, obj.key): obj for obj in observed}
    for change in changes:
        name = (change.object.KIND, change.object.key)
        if change.delete:
            del there[name]
        else:
            there[name] = change.object
    return list(there.values())


def made_for(*gateways: Gateway, settings: ProxySettings = SETTINGS) -> list[Object]:
    return applied([LEADING_THERE], proxy_changes(gateways, [LEADING_THERE], settings))


def named(changes: tuple[Change, ...]) -> list[tuple[str, str]]:
    return [(change.verb, change.object.KIND) for change in changes]


@pytest.mark.parametrize("file", INPUTS, ids=lambda file: file.name.removesuffix(".in.yaml"))
def test_a_gateway_becomes_the_objects_that_are_written_down(file: Path) -> None:
    case: dict[str, Any] = yaml.safe_load(file.read_text())
    key = Key.parse(case["settings"]["controller"])
    settings = ProxySettings(controller=key, bind_address=case["settings"].get("bindAddress", SETTINGS.bind_address))
    metadata = ObjectMeta(name=key.name, namespace=key.namespace)
    spec = msgspec.convert({**case["controller"], "ports": [{"port": 18000}]}, ServiceSpec)
    made = proxy_objects(decode(Gateway, case["gateway"]), Service(metadata=metadata, spec=spec), settings)
    got = msgspec.json.decode(msgspec.json.encode([encode(obj) for obj in made]))
    for obj in got:
        check_object(obj)
    golden = file.with_name(file.name.replace(".in.", ".out."))
    if os.environ.get("ARGOSY_UPDATE_GOLDEN"):
        golden.write_text(yaml.safe_dump(got, sort_keys=False, width=120))
    assert got == yaml.safe_load(golden.read_text())


def test_what_was_made_is_right() -> None:
    observed = made_for(gateway())
    assert proxy_changes([gateway()], observed, SETTINGS) == ()
    assert proxy_changes([gateway()], observed[::-1], SETTINGS) == ()


def test_every_gateway_has_its_own() -> None:
    first, second = gateway("one", uid="1"), gateway("two", uid="2")
    names = {obj.key.name for obj in made_for(first, second) if isinstance(obj, Deployment)}
    assert names == {"one-envoy", "two-envoy"}


def test_what_a_hand_deletes_or_changes_is_made_again() -> None:
    observed = made_for(gateway())
    deployment = next(obj for obj in observed if isinstance(obj, Deployment))
    without = [obj for obj in observed if obj is not deployment]
    assert named(proxy_changes([gateway()], without, SETTINGS)) == [("create", "Deployment")]
    changed = replace(deployment, spec=replace(deployment.spec, replicas=0))
    assert named(proxy_changes([gateway()], [*without, changed], SETTINGS)) == [("update", "Deployment")]


def test_a_gateway_that_is_gone_takes_all_its_objects_along() -> None:
    gone, stays = gateway("gone", uid="1"), gateway("stays", uid="2")
    changes = proxy_changes([stays], made_for(gone, stays), SETTINGS)
    assert named(changes) == [("delete", kind.KIND) for kind in KINDS]
    assert {change.object.key.name for change in changes} == {"gone-envoy"}


def test_objects_of_others_are_never_removed() -> None:
    theirs = [
        replace(obj, metadata=replace(obj.metadata, labels={**obj.metadata.labels, MANAGED_BY: "argosy"}))
        for obj in made_for(gateway())
    ]
    assert proxy_changes([], theirs, SETTINGS) == ()


def test_where_a_stranger_has_the_name_nothing_is_changed_and_it_is_said() -> None:
    theirs = Service(metadata=ObjectMeta(name="edge-envoy", namespace="team-a"), spec=ServiceSpec())
    planned = proxy_plan([gateway(), gateway("other", uid="2")], [LEADING_THERE, theirs], SETTINGS)
    assert list(planned.obstacles) == [Key("team-a", "edge")]
    assert "Service team-a/edge-envoy is somebody else's" in planned.obstacles[Key("team-a", "edge")]
    assert {change.object.key.name for change in planned.changes} == {"other-envoy"}
    before = [theirs if isinstance(obj, Service) and obj.key == theirs.key else obj for obj in made_for(gateway())]
    assert proxy_plan([gateway()], before, SETTINGS).changes == ()


def test_a_label_that_a_hand_took_away_is_put_back() -> None:
    without = [
        replace(obj, metadata=replace(obj.metadata, labels={})) if isinstance(obj, Deployment) else obj
        for obj in made_for(gateway())
    ]
    assert named(proxy_changes([gateway()], without, SETTINGS)) == [("update", "Deployment")]


def test_a_gateway_of_the_same_name_takes_over_from_its_predecessor() -> None:
    changes = proxy_changes([gateway(uid="g-2")], made_for(gateway(uid="g-1")), SETTINGS)
    assert {change.verb for change in changes} == {"update"}
    assert len(changes) == len(KINDS)


@pytest.mark.parametrize(
    "now",
    [
        gateway(protocol="HTTPS"),
        replace(gateway(), metadata=replace(gateway().metadata, deletion_timestamp="t")),
        replace(gateway(), spec=replace(gateway().spec, addresses=(GatewayAddress(value="10.0.0.1"),))),
    ],
)
def test_a_gateway_that_cannot_be_served_or_is_going_keeps_what_it_has(now: Gateway) -> None:
    assert proxy_changes([now], made_for(gateway()), SETTINGS) == ()
    assert proxy_changes([now], [LEADING_THERE], SETTINGS) == ()


def test_nothing_is_done_while_nobody_knows_where_configuration_is_served() -> None:
    assert proxy_changes([gateway()], [], SETTINGS) == ()
    assert proxy_changes([gateway()], [obj for obj in made_for(gateway()) if obj is not LEADING_THERE], SETTINGS) == ()


def test_a_budget_that_one_envoy_has_no_use_for_goes() -> None:
    alone = replace(SETTINGS, replicas=1)
    assert named(proxy_changes([gateway()], made_for(gateway()), alone)) == [
        ("update", "Deployment"),
        ("delete", "PodDisruptionBudget"),
    ]


def test_a_new_port_replaces_no_pod() -> None:
    observed = made_for(gateway())
    changes = proxy_changes([gateway(port=81)], observed, SETTINGS)
    assert named(changes) == [("update", "Service")]


def test_a_headless_service_is_found_as_pods_are_told_of_it() -> None:
    headless = replace(LEADING_THERE, spec=replace(LEADING_THERE.spec, cluster_ip="None"))
    deployment = next(obj for obj in proxy_objects(gateway(), headless, SETTINGS) if isinstance(obj, Deployment))
    assert "$(ARGOSY_GATEWAY_SERVICE_HOST)" in " ".join(deployment.spec.template.spec.containers[0].args)


@pytest.mark.parametrize("name", ["1st", "edge.example", "x" * 58, "x" * 253, "a" + "-" * 80 + "b"])
def test_a_name_that_is_no_label_is_made_one_that_tells_it_from_others(name: str) -> None:
    made = label_of(name)
    assert made != label_of(name + "x")
    for text in (made, proxy_name(name)):
        assert len(text) <= 63
        check_object({"apiVersion": "v1", "kind": "Service", "metadata": {"name": text}, "spec": {}})
        assert text[0].isalpha()
        assert text[-1].isalnum()
    assert label_of("edge") == "edge"
    assert proxy_name("edge") == "edge-envoy"


def test_low_ports_and_ports_of_the_pod_are_bound_above() -> None:
    assert bound_ports((80, 8080, 9901, 18090), bind_address="0.0.0.0") == {
        80: 10080,
        8080: 8080,
        9901: 19901,
        18090: 28090,
    }
    assert bound_ports((80, 10080, 443), bind_address="::") == {80: 10081, 443: 10443, 10080: 10080}


def test_ports_stay_where_an_address_is_shared() -> None:
    assert bound_ports((80, 9901), bind_address="127.0.0.1") == {80: 80, 9901: 9901}


def test_all_that_is_made_says_whose_it_is() -> None:
    for obj in proxy_objects(gateway(), LEADING_THERE, SETTINGS):
        assert obj.metadata.labels[MANAGED_BY] == OWNER
        assert [owner.uid for owner in obj.metadata.owner_references] == ["g-1"]
