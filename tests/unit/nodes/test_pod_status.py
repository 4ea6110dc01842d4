from typing import Any

import pytest

from argosy.api.containers import Container, ResourceRequirements
from argosy.api.kubernetes import ContainerStatus, Pod, PodSpec, PodStatus
from argosy.api.objects import Condition, ObjectMeta
from argosy.edge.processes.ends import End
from argosy.edge.processes.process import Exit
from harness.node.events import Told, told
from harness.node.status import api_status, differs, end_message, quality

RUNNING = {"running": {"startedAt": "t1", "pid": 7}}
ENDED = {"terminated": {"exitCode": 0, "reason": "Completed", "message": "", "startedAt": "t1", "finishedAt": "t2"}}
READY = (Condition(type="ContainersReady", status="True"), Condition(type="Ready", status="True"))
UNREADY = (Condition(type="Ready", status="False", message="container c: it is not ready: GET x answered 503"),)


def pod(**fields: Any) -> Pod:
    containers = (Container(name="c", image="i"),)
    return Pod(metadata=ObjectMeta(name="p", uid="u"), spec=PodSpec(containers=containers, **fields))


def container(state: dict[str, Any], **fields: Any) -> ContainerStatus:
    return ContainerStatus(**{"name": "c", "ready": False, "restart_count": 0, "image": "i", "state": state, **fields})


UP = PodStatus(
    phase="Running",
    pod_ip="10.244.1.2",
    conditions=READY,
    container_statuses=(container(RUNNING, ready=True, started=True),),
)


def written(status: PodStatus, *, of: Pod | None = None, before: Any = (), ended: bool = False) -> dict[str, Any]:
    return api_status(of or pod(), status, host="10.245.1.1", before=before, now="now", ended=ended)


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: each["status"] for each in status["conditions"]}


def test_a_running_pod_tells_its_address_and_its_containers_and_no_process_id() -> None:
    made = written(UP)
    assert (made["podIP"], made["hostIP"], made["phase"]) == ("10.244.1.2", "10.245.1.1", "Running")
    assert made["containerStatuses"][0]["state"] == {"running": {"startedAt": "t1"}}
    assert set(conditions(made).values()) == {"True"}


def test_a_pod_that_has_not_begun_says_why() -> None:
    made = written(PodStatus(message="Secret x does not exist"))
    waiting = made["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "ContainerCreating", "message": "Secret x does not exist"}
    assert conditions(made)["Ready"] == "False"


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    first = written(UP)
    times = [{**each, "lastTransitionTime": "before"} for each in first["conditions"]]
    assert {each["lastTransitionTime"] for each in written(UP, before=times)["conditions"]} == {"before"}
    other = PodStatus(phase="Running", pod_ip="a", conditions=UNREADY, container_statuses=(container(RUNNING),))
    again = {each["type"]: each["lastTransitionTime"] for each in written(other, before=times)["conditions"]}
    assert (again["Ready"], again["Initialized"]) == ("now", "before")


def test_what_has_completed_is_unready_because_of_that() -> None:
    made = written(PodStatus(phase="Succeeded", container_statuses=(container(ENDED),)))
    ready = next(each for each in made["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PodCompleted")
    assert made["containerStatuses"][0]["state"]["terminated"]["containerID"]


def test_a_pod_without_processes_has_a_terminal_phase() -> None:
    assert written(UP, ended=True)["phase"] == "Failed"
    assert written(PodStatus(phase="Succeeded"), ended=True)["phase"] == "Succeeded"


def test_a_pod_is_initialized_when_each_init_container_is_done_or_runs_beside() -> None:
    inits = (Container(name="once", image="i"), Container(name="beside", image="i", restart_policy="Always"))
    of = pod(init_containers=inits)

    def told_of(*states: ContainerStatus) -> str:
        return conditions(written(PodStatus(init_container_statuses=states), of=of))["Initialized"]

    once, beside = container(ENDED, name="once"), container(RUNNING, name="beside", started=True)
    assert told_of(once, beside) == "True"
    assert told_of(container(RUNNING, name="once"), beside) == "False"
    assert told_of(once, container(RUNNING, name="beside")) == "False"


@pytest.mark.parametrize(
    ("requests", "limits", "expected"),
    [
        ({}, {}, "BestEffort"),
        ({"cpu": "1"}, {}, "Burstable"),
        ({}, {"cpu": "1", "memory": "1Gi"}, "Guaranteed"),
        ({"cpu": "1"}, {"cpu": "2", "memory": "1Gi"}, "Burstable"),
    ],
)
def test_the_quality_of_service_is_by_requests_and_limits(
    requests: dict[str, str], limits: dict[str, str], expected: str
) -> None:
    resources = ResourceRequirements(requests=requests, limits=limits)
    spec = PodSpec(containers=(Container(name="c", image="i", resources=resources),))
    assert quality(Pod(metadata=ObjectMeta(name="p"), spec=spec)) == expected


def test_an_end_tells_what_was_written_for_it_or_last_words_where_they_are_asked_for() -> None:
    end = End(exit=Exit(3), words="no weights")
    asked = Container(name="c", image="i", termination_message_policy="FallbackToLogsOnError")
    assert end_message(asked, end, "") == "no weights"
    assert end_message(asked, end, "a reason") == "a reason"
    assert end_message(Container(name="c", image="i"), end, "") == ""
    assert end_message(asked, End(exit=Exit(0), words="bye"), "") == ""


def test_it_is_noticed_when_another_changes_what_we_wrote() -> None:
    ours = written(UP)
    theirs = tuple(Condition(type=each["type"], status=each["status"]) for each in ours["conditions"])
    scheduled = Condition(type="PodScheduled", status="True")
    assert not differs(ours, PodStatus(phase="Running", conditions=(*theirs, scheduled)))
    assert differs(ours, PodStatus(phase="Running", conditions=(*theirs[:-1], Condition(type="Ready", status="False"))))


def test_events_tell_of_starts_failed_probes_and_what_keeps_a_pod_from_starting() -> None:
    begun = PodStatus(container_statuses=(container(RUNNING),), conditions=UNREADY)
    assert list(told(PodStatus(), begun)) == [
        Told("Normal", "Started", "Started container c"),
        Told("Warning", "Unhealthy", "Readiness probe failed: GET x answered 503"),
    ]
    assert Told("Normal", "Started", "Started container c") not in list(told(begun, begun))
    assert list(told(PodStatus(), PodStatus(message="no such Secret"))) == [
        Told("Warning", "FailedMount", "no such Secret")
    ]
    waits = PodStatus(container_statuses=(container({"waiting": {"reason": "CrashLoopBackOff", "message": "x"}}),))
    assert list(told(begun, waits)) == [Told("Warning", "BackOff", "Back-off restarting failed container c")]
