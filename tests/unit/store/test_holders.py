from typing import Any

from argosy.edge.kube.additions import adopted
from argosy.edge.kube.holders import left_to_others
from argosy.edge.kube.port import Held


def entry(manager: str, fields: dict[str, Any], *, operation: str = "Apply", subresource: str = "") -> dict[str, Any]:
    plain = {"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsV1": fields}
    return plain | ({"subresource": subresource} if subresource else {})


def read(*entries: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "n", "resourceVersion": "7", "managedFields": list(entries)}, "spec": spec}


def want(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "n"}, "spec": spec}


REPLICAS = {"f:spec": {"f:replicas": {}}}


def test_a_field_that_another_applies_otherwise_is_left_out_and_named() -> None:
    observed = read(entry("them", REPLICAS), replicas=5, paused=True)
    rest, held = left_to_others(want(replicas=2, paused=False), observed, manager="us")
    assert rest["spec"] == {"paused": False}
    assert held == (Held("spec.replicas", "them", "apply"),)


def test_what_was_scaled_is_left_whoever_did_it() -> None:
    scaled = entry("us", REPLICAS, operation="Update", subresource="scale")
    rest, held = left_to_others(want(replicas=2, paused=True), read(scaled, replicas=5), manager="us")
    assert rest["spec"] == {"paused": True}
    assert held == (Held("spec.replicas", "us", "scale"),)


def test_what_hands_update_or_a_status_writer_holds_is_not_left() -> None:
    hand = entry("kubectl-edit", REPLICAS, operation="Update")
    status = entry("them", REPLICAS, subresource="status")
    wanted = want(replicas=2)
    assert left_to_others(wanted, read(hand, status, replicas=5), manager="us") == (wanted, ())


def test_our_own_fields_and_those_of_which_both_want_the_same_are_not_left() -> None:
    wanted = want(replicas=5, args=("a", {"b": ("c",)}))
    fields = {"f:spec": {"f:replicas": {}, "f:args": {}}}
    observed = read(entry("them", fields), entry("us", REPLICAS), replicas=5, args=["a", {"b": ["c"]}])
    assert left_to_others(wanted, observed, manager="us") == (wanted, ())
    changed = want(replicas=6)
    assert left_to_others(changed, read(entry("us", REPLICAS), replicas=5), manager="us") == (changed, ())


def test_what_is_the_same_but_for_its_spelling_is_left_out_without_a_word() -> None:
    fields = {"f:spec": {"f:limits": {"f:cpu": {}}}}
    observed = read(entry("them", fields), limits={"cpu": "1"})
    rest, held = left_to_others(want(limits={"cpu": "1000m"}, paused=True), observed, manager="us")
    assert (rest["spec"], held) == ({"paused": True}, ())


def test_a_field_that_is_held_but_not_there_is_ours_to_write() -> None:
    wanted = want(replicas=2)
    assert left_to_others(wanted, read(entry("them", REPLICAS)), manager="us") == (wanted, ())


def test_an_items_fields_are_left_one_by_one_and_its_key_stays() -> None:
    owned = {"f:spec": {"f:items": {".": {}, 'k:{"name":"a"}': {".": {}, "f:name": {}, "f:value": {}}, 'v:"x"': {}}}}
    items = [{"name": "b", "value": "1"}, {"name": "a", "value": "9", "also": "2"}]
    wanted = want(items=({"name": "a", "value": "1", "also": "1"}, {"name": "b", "value": "1"}))
    rest, held = left_to_others(wanted, read(entry("them", owned), items=items), manager="us")
    assert rest["spec"] == {"items": [{"name": "a", "also": "1"}, {"name": "b", "value": "1"}]}
    assert held == (Held('spec.items[name="a"].value', "them", "apply"),)


def test_a_key_that_is_left_out_is_one_with_a_default() -> None:
    owned = {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {"f:port": {}, "f:targetPort": {}}}}}
    observed = read(entry("them", owned), ports=[{"port": 80, "protocol": "TCP", "targetPort": 9}])
    rest, held = left_to_others(want(ports=[{"port": 80, "targetPort": 8}]), observed, manager="us")
    assert rest["spec"] == {"ports": [{"port": 80}]}
    assert held == (Held('spec.ports[port=80,protocol="TCP"].targetPort', "them", "apply"),)


def test_a_field_that_several_hold_is_named_once_in_order_of_names() -> None:
    observed = read(entry("z", REPLICAS), entry("b", REPLICAS), replicas=5)
    rest, held = left_to_others(want(replicas=2, paused=True), observed, manager="us")
    assert (rest["spec"], held) == ({"paused": True}, (Held("spec.replicas", "b", "apply"),))


def test_a_part_of_which_all_is_left_is_not_applied_empty() -> None:
    rest, held = left_to_others(want(replicas=2), read(entry("them", REPLICAS), replicas=5), manager="us")
    assert rest == {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "n"}}
    assert len(held) == 1


def test_an_empty_value_of_ours_stays() -> None:
    owned = {"f:spec": {"f:emptyDir": {"f:medium": {}}}}
    wanted = want(emptyDir={})
    assert left_to_others(wanted, read(entry("them", owned), emptyDir={"medium": "Memory"}), manager="us") == (
        wanted,
        (),
    )


PORTS = {"f:spec": {"f:ports": {'k:{"port":9000}': {"f:port": {}}}, "f:type": {}}}
MOVED = {"f:spec": {"f:ports": {'k:{"port":81}': {".": {}, "f:port": {}}}}}


def test_a_hands_item_of_a_list_of_ours_is_taken_and_nothing_else() -> None:
    hand = entry("kubectl-edit", MOVED | {"f:metadata": {"f:labels": {"f:theirs": {}}}}, operation="Update")
    wanted = want(ports=({"port": 80}, {"port": 9000}), type="ClusterIP")
    test, change = adopted(wanted, read(hand, entry("us", PORTS)), manager="us")
    assert test == {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
    theirs, ours = change["value"]
    assert theirs["fieldsV1"] == {"f:metadata": {"f:labels": {"f:theirs": {}}}}
    assert ours["fieldsV1"]["f:spec"]["f:ports"] == {
        'k:{"port":9000}': {"f:port": {}},
        'k:{"port":81}': {".": {}, "f:port": {}},
    }


def test_an_entry_that_holds_nothing_any_more_is_dropped() -> None:
    hand = entry("kubectl-edit", MOVED, operation="Update")
    _, change = adopted(want(ports=[{"port": 80}]), read(hand, entry("us", {})), manager="us")
    assert [left["manager"] for left in change["value"]] == ["us"]
    assert change["value"][0]["fieldsV1"] == MOVED


def test_items_that_we_want_others_apply_or_scale_or_stand_in_lists_we_do_not_want_are_not_taken() -> None:
    ours = entry("us", PORTS)
    hand = entry("kubectl-edit", MOVED, operation="Update")
    assert adopted(want(ports=[{"port": 81}]), read(hand, ours), manager="us") == []
    assert adopted(want(type="ClusterIP"), read(hand, ours), manager="us") == []
    assert adopted(want(ports=[{"port": 80}]), read(entry("them", MOVED), ours), manager="us") == []
    assert adopted(want(ports=[{"port": 80}]), read(hand), manager="us") == []


def test_an_item_within_an_item_is_taken() -> None:
    nested = {"f:spec": {"f:a": {'k:{"name":"x"}': {"f:b": {'k:{"name":"y"}': {"f:name": {}}}, "f:c": {}}}}}
    hand = entry("kubectl-edit", nested, operation="Update")
    wanted = want(a=[{"name": "x", "b": [{"name": "z"}], "c": 1}])
    _, change = adopted(wanted, read(hand, entry("us", {})), manager="us")
    theirs, ours = change["value"]
    assert theirs["fieldsV1"] == {"f:spec": {"f:a": {'k:{"name":"x"}': {"f:c": {}}}}}
    assert ours["fieldsV1"] == {"f:spec": {"f:a": {'k:{"name":"x"}': {"f:b": {'k:{"name":"y"}': {"f:name": {}}}}}}}
