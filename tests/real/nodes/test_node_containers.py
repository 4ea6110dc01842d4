"""What a container of a pod is given and held to, on the real control plane: users, files, variables, volumes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.laptop import ROOT
from harness.space import Program, Space, config_map, pod, program, script, secret
from harness.waiting import wait_for

NONROOT = 65532
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 (a path)
Run = Callable[..., Program]


@pytest.fixture(scope="module")
def run(space: Space) -> Run:
    """Runs a pod of the test program, and gives it when it is ready."""
    space.apply(
        config_map("settings", colour="blue", greeting="hello $(NAME)"),
        secret("password", word="sesame"),
    )

    def start(name: str, container: dict[str, Any], **fields: Any) -> Program:
        space.apply(pod(name, container, **fields))
        return space.ready(name)

    return start


def volumes_of_every_kind(shared: Path) -> list[dict[str, Any]]:
    items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    memory = {"containerName": "main", "resource": "limits.memory", "divisor": "1Mi"}
    everything = [
        {"configMap": {"name": "settings", "items": [{"key": "colour", "path": "deep/colour"}]}},
        {"secret": {"name": "password"}},
        {"serviceAccountToken": {"path": "token", "audience": "somebody"}},
        {"downwardAPI": {"items": [{"path": "memory", "resourceFieldRef": memory}]}},
    ]
    return [
        {"name": "scratch", "emptyDir": {}},
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "password", "secret": {"secretName": "password", "defaultMode": 0o400}},
        {"name": "everything", "projected": {"sources": everything}},
        {"name": "self", "downwardAPI": {"items": items}},
        {"name": "host", "hostPath": {"path": str(shared)}},
    ]


@pytest.fixture(scope="module")
def confined(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A pod as Argosy's are: not root, of a group, with a root that cannot be written, and some volumes."""
    shared = tmp_path_factory.mktemp("host")
    shared.chmod(0o755)
    (shared / "weights").write_text("heavy")
    mounts = {
        "scratch": "/scratch",
        "settings": "/etc/settings",
        "password": "/etc/password",
        "everything": "/projected",
        "self": "/self",
        "host": "/host",
    }
    volumes = volumes_of_every_kind(shared)
    security = {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    part = {"name": "settings", "mountPath": "/one/colour", "subPath": "colour"}
    container = program(
        securityContext=security,
        resources={"limits": {"memory": "64Mi", "cpu": "1500m"}},
        ports=[{"name": "http", "containerPort": 8000}],
        volumeMounts=[*({"name": name, "mountPath": path} for name, path in mounts.items()), part],
    )
    container["command"][-1] = "8000"
    who = {"runAsUser": NONROOT, "runAsGroup": NONROOT, "runAsNonRoot": True, "fsGroup": 2000}
    made = run("confined", container, volumes=volumes, securityContext=who, labels={"app": "confined", "tier": "one"})
    return Program(made.address, 8000)


def test_a_container_runs_as_its_user_without_rights(confined: Program) -> None:
    who = confined.ask("who")
    assert (who["user"], who["group"]) == (NONROOT, NONROOT)
    assert who["groups"] == [2000]
    assert (who["capabilities"], who["effective"]) == (0, 0)
    assert who["no_new_privileges"]
    assert who["environment"]["HOME"] == "/"


def test_a_read_only_root_cannot_be_written_and_an_empty_dir_can(confined: Program) -> None:
    for path in ("/x", "/tmp/x", "/etc/settings/x", "/dev/x"):  # noqa: S108
        assert confined.ask("write", path=path) in ("EROFS", "EACCES"), path
    assert confined.ask("write", path="/scratch/x") == "written"
    assert confined.ask("look", path="/scratch/x")["group"] == 2000
    assert confined.ask("write", path="/dev/shm/x") == "written"  # noqa: S108
    assert confined.ask("write", path="/dev/stdout") == "written"


def test_folders_of_people_are_empty_and_the_checkout_is_seen_but_not_written(confined: Program) -> None:
    assert confined.ask("look", path="/home")["names"] == []
    assert confined.ask("look", path="/run")["names"] == ["secrets"]
    checkout = str(ROOT)
    assert "src" in confined.ask("look", path=checkout)["names"]
    assert confined.ask("write", path=f"{checkout}/x") in ("EROFS", "EACCES")


def test_volumes_hold_what_the_api_server_has(confined: Program) -> None:
    assert confined.ask("read", path="/etc/settings/colour") == "blue"
    assert confined.ask("read", path="/one/colour") == "blue"
    assert confined.ask("read", path="/etc/password/word") == "sesame"
    assert confined.ask("look", path="/etc/password/word")["mode"] == "0o440"
    assert confined.ask("read", path="/projected/deep/colour") == "blue"
    assert confined.ask("read", path="/projected/memory") == "64"
    assert confined.ask("read", path="/self/labels") == 'app="confined"\ntier="one"'
    assert confined.ask("read", path="/host/weights") == "heavy"


def test_volumes_follow_changes_of_their_sources(confined: Program, space: Space) -> None:
    space.apply(config_map("settings", colour="green", greeting="hello $(NAME)"), secret("password", word="open"))
    wait_for(lambda: confined.ask("read", path="/etc/settings/colour") == "green", "a ConfigMap's file stayed old")
    wait_for(lambda: confined.ask("read", path="/etc/password/word") == "open", "a Secret's file stayed old")
    assert confined.ask("read", path="/projected/deep/colour") == "green"
    assert confined.ask("read", path="/one/colour") == "blue"  # a part of a volume stays as it was
    space.kubectl("label", "pod", "confined", "tier=two", "--overwrite")
    wait_for(lambda: "two" in confined.ask("read", path="/self/labels"), "the pod's labels stayed old")


def test_the_account_s_token_is_the_pod_s_own_and_the_api_server_takes_it(confined: Program, space: Space) -> None:
    token = confined.ask("read", path=f"{TOKEN}/token")
    assert confined.ask("look", path=f"{TOKEN}/token")["mode"] == "0o640"
    assert confined.ask("read", path=f"{TOKEN}/namespace") == space.name
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    answer = space.cluster.kubectl("create", "-f", "-", "-ojson", stdin=json.dumps(review))
    user = json.loads(answer)["status"]["user"]
    assert user["username"] == f"system:serviceaccount:{space.name}:default"
    assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["confined"]


def test_variables_come_from_fields_objects_and_services_and_refer_to_each_other(run: Run) -> None:
    env = [
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "password", "key": "word"}}},
        {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "none", "optional": True}}},
        {"name": "TITLE", "value": "$(NAME) at $(ADDRESS), $$(NAME)"},
    ]
    resources = {"limits": {"cpu": "1500m"}}
    container = program(env=env, envFrom=[{"configMapRef": {"name": "settings"}, "prefix": "S_"}], resources=resources)
    told = run("variables", container)
    got = told.ask("who")["environment"]
    assert got["TITLE"] == f"variables at {told.address}, $(NAME)"
    assert got["HOST"].startswith("10.245.1.")
    assert got["CPU"] == "2"
    assert got["WORD"] in ("sesame", "open")
    assert got["S_greeting"] == "hello $(NAME)"
    assert "NONE" not in got
    assert got["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert got["HOSTNAME"] == "variables"


def test_a_container_that_must_not_be_root_is_not_run_as_root(space: Space) -> None:
    space.apply(pod("rootless", program(), securityContext={"runAsNonRoot": True}))
    assert "runAsNonRoot" in waiting(space, "rootless", "CreateContainerConfigError")


def test_an_image_that_is_not_known_is_said_to_be_missing(space: Space) -> None:
    space.apply(pod("imageless", program(image="nowhere/nothing:1")))
    assert "nowhere/nothing:1" in waiting(space, "imageless", "ErrImagePull")
    assert "nowhere/nothing:1" in waiting(space, "imageless", "ImagePullBackOff")
    assert any(reason == "Failed" for reason, _ in space.events("imageless"))


def test_a_pod_waits_for_what_it_names_and_starts_when_it_is_there(space: Space) -> None:
    volume = {"name": "late", "configMap": {"name": "late"}}
    space.apply(
        pod("patient", program(volumeMounts=[{"name": "late", "mountPath": "/late"}]), volumes=[volume]),
    )
    assert "ConfigMap late does not exist" in waiting(space, "patient", "ContainerCreating", says="late")
    assert any(reason == "FailedMount" for reason, _ in space.events("patient"))
    space.apply(config_map("late", key="here"))
    assert space.ready("patient").ask("read", path="/late/key") == "here"


def test_init_containers_run_in_order_before_the_others_and_sidecars_beside_them(space: Space) -> None:
    volume = {"name": "shared", "emptyDir": {}}
    mounts = [{"name": "shared", "mountPath": "/shared"}]
    probe = {"exec": {"command": ["test", "-e", "/shared/beside"]}, "periodSeconds": 1}
    inits = [
        script("echo first >> /shared/order", name="first", volumeMounts=mounts),
        script(
            "echo beside >> /shared/order; touch /shared/beside; trap 'exit 0' TERM; sleep 600 & wait",
            name="beside",
            volumeMounts=mounts,
            restartPolicy="Always",
            startupProbe=probe,
        ),
        script("echo second >> /shared/order", name="second", volumeMounts=mounts),
    ]
    space.apply(pod("staged", program(volumeMounts=mounts), volumes=[volume], initContainers=inits))
    assert space.ready("staged").ask("read", path="/shared/order") == "first\nbeside\nsecond\n"
    status = space.get("pod", "staged")["status"]
    ended = {each["name"]: "terminated" in each["state"] for each in status["initContainerStatuses"]}
    assert ended == {"first": True, "beside": False, "second": True}
    conditions = {each["type"]: each["status"] for each in status["conditions"]}
    assert conditions["Initialized"] == "True"


def test_an_init_container_that_fails_holds_the_others_up(space: Space) -> None:
    space.apply(pod("stuck", program(), initContainers=[script("exit 4", name="first")]))

    def failed() -> bool:
        status = space.get("pod", "stuck")["status"]
        first = status.get("initContainerStatuses") or [{}]
        return bool(first[0].get("lastState", {}).get("terminated", {}).get("exitCode") == 4)

    wait_for(failed, "the init container's end was not told")
    assert space.get("pod", "stuck")["status"]["phase"] == "Pending"


def test_a_container_s_folder_is_its_own_and_two_containers_share_a_network(space: Space) -> None:
    beside = program(name="beside", workingDir="/made/for/it", readinessProbe=None)
    beside["command"] = [*beside["command"][:2], "81"]
    del beside["ports"]
    space.apply(pod("pair", program(), beside))
    first = space.ready("pair")
    assert Program(first.address, 81).ask("who")["folder"] == "/made/for/it"
    assert "failed" not in first.ask("fetch", url="http://127.0.0.1:81/who")
    assert first.ask("write", path="/mine") == "written"
    assert "mine" not in Program(first.address, 81).ask("look", path="/")["names"]


def test_a_pod_on_its_node_s_network_has_the_node_s_address(space: Space) -> None:
    space.apply(pod("on-the-node", script("sleep 600"), hostNetwork=True))
    space.kubectl("wait", "--for=condition=Ready", "pod/on-the-node", "--timeout=30s")
    status = space.get("pod", "on-the-node")["status"]
    assert status["podIP"] == status["hostIP"]


def test_the_programs_of_the_checkout_run_for_any_user(run: Run) -> None:
    container = program(securityContext={"runAsUser": 12345, "readOnlyRootFilesystem": True})
    container["ports"][0]["containerPort"] = 8000
    container["command"] = [sys.executable, container["command"][1], "8000"]
    told = run("stranger", container)
    assert Program(told.address, 8000).ask("who")["user"] == 12345


def waiting(space: Space, name: str, reason: str, *, says: str = "") -> str:
    """Wait until a pod's container waits for this reason; give the message."""

    def message() -> str:
        statuses = space.get("pod", name)["status"].get("containerStatuses") or [{}]
        state = statuses[0].get("state", {}).get("waiting", {})
        fits = state.get("reason") == reason and says in state.get("message", "")
        return str(state.get("message", " ")) if fits else ""

    return str(wait_for(message, f"{name} never waited as {reason}"))
