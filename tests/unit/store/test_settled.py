from typing import Any

import pytest

from argosy.edge.kube.settled import settled, status_settled

POD_FIELDS: dict[str, Any] = {
    "f:metadata": {"f:labels": {"f:a": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:selector": {},
        "f:containers": {
            'k:{"name":"engine"}': {
                ".": {},
                "f:name": {},
                "f:args": {},
                "f:ports": {'k:{"containerPort":8000,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                "f:resources": {"f:limits": {"f:cpu": {}}},
                "f:emptyDir": {},
            }
        },
        "f:finalizers": {'v:"argosy.dev/x"': {}},
    },
}


def wanted(**spec: Any) -> dict[str, Any]:
    container = {
        "name": "engine",
        "args": ["--host", "$(POD_IP)"],
        "ports": [{"containerPort": 8000}],
        "resources": {"limits": {"cpu": "1000m"}},
        "emptyDir": {},
    }
    full = {
        "replicas": 0,
        "selector": {"matchLabels": {"a": "1"}},
        "containers": [container],
        "finalizers": ["argosy.dev/x"],
    }
    metadata = {"name": "n", "namespace": "s", "labels": {"a": "1"}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": full | spec}


def observed(*, manager: str = "argosy", operation: str = "Apply", **spec: Any) -> dict[str, Any]:
    """Give what a server makes of `wanted`: defaults, another's container, label and finalizer, its own fields."""
    ours = {
        "name": "engine",
        "args": ["--host", "$(POD_IP)"],
        "ports": [{"containerPort": 8000, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "1"}},
        "emptyDir": {},
        "imagePullPolicy": "Always",
    }
    full = {
        "replicas": 0,
        "selector": {"matchLabels": {"a": "1"}},
        "containers": [{"name": "injected"}, ours],
        "finalizers": ["theirs", "argosy.dev/x"],
        "progressDeadlineSeconds": 600,
    }
    entry = {"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsV1": POD_FIELDS}
    metadata = {"name": "n", "labels": {"a": "1", "theirs": "2"}, "uid": "u", "managedFields": [entry]}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": full | spec}


def container(**changed: Any) -> list[dict[str, Any]]:
    (ours,) = wanted()["spec"]["containers"]
    return [{name: value for name, value in (ours | changed).items() if value is not None}]


def test_what_is_there_with_defaults_and_the_fields_of_others_is_settled() -> None:
    assert settled(wanted(), observed(), manager="argosy")


def test_an_empty_value_that_the_server_dropped_is_settled() -> None:
    assert settled(wanted(nodeName="", hostnames=[]), observed(), manager="argosy")


def test_an_object_that_is_named_and_no_more_is_settled() -> None:
    metadata = {
        "name": "n",
        "managedFields": [{"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsV1": {}}],
    }
    named = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
    assert settled(named, {"metadata": metadata, "spec": {"finalizers": ["kubernetes"]}}, manager="m")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"replicas": 1}, "a value differs"),
        ({"paused": True}, "a field is new"),
        ({"emptyDir": {}}, "a mapping without members is new"),
        ({"selector": {"matchLabels": {}}}, "a part of what is owned as a whole was left out"),
        ({"selector": {"matchLabels": {"a": "1", "b": "2"}}}, "a part of what is owned as a whole is new"),
        ({"finalizers": []}, "an item of a set was left out"),
        ({"finalizers": ["argosy.dev/x", "theirs"]}, "an item of a set is new to its owner"),
        ({"containers": [*container(), {"name": "second"}]}, "an item of a list is new"),
        ({"containers": container(name="other")}, "an item of a list has another name"),
        ({"containers": container(args=["--host"])}, "an argument was left out"),
        ({"containers": container(args=["$(POD_IP)", "--host"])}, "arguments are in another order"),
        ({"containers": container(resources={"limits": {"cpu": "1001m"}})}, "a quantity differs"),
        ({"containers": container(resources={"limits": {"cpu": "much"}})}, "a quantity cannot be read"),
        ({"containers": container(ports=[{"containerPort": 8001}])}, "a key differs"),
        ({"containers": container(ports=[{"containerPort": 8000, "name": "http"}])}, "a member of an item is new"),
        ({"containers": container(args=None)}, "a member of an item was left out"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_it_is_not_settled_when(spec: dict[str, Any], why: str) -> None:
    assert not settled(wanted(**spec), observed(), manager="argosy"), why


@pytest.mark.parametrize("entry", [{"manager": "other"}, {"operation": "Update"}])
def test_what_the_manager_never_applied_is_not_settled(entry: dict[str, str]) -> None:
    assert not settled(wanted(), observed(**entry), manager="argosy")


def test_what_was_applied_in_another_version_is_not_settled() -> None:
    assert not settled(wanted() | {"apiVersion": "apps/v2"}, observed(), manager="argosy")


def test_text_that_looks_like_a_quantity_is_text() -> None:
    there = observed()
    there["metadata"]["labels"]["a"] = "1000m"
    assert not settled(wanted(), there, manager="argosy")


def test_a_status_is_settled_when_it_differs_by_defaults_alone() -> None:
    there = {"status": {"parents": [{"parentRef": {"name": "g", "kind": "Gateway"}, "controllerName": "c"}]}}
    assert status_settled({"parents": [{"parentRef": {"name": "g"}, "controllerName": "c"}]}, there)
    assert not status_settled({"parents": [{"parentRef": {"name": "g"}}]}, there)
    assert not status_settled({}, there)
    assert status_settled({}, {})
    assert status_settled({}, {"status": {}})
