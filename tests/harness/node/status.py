"""A pod's status as the kubelet writes it. Pure: the runner's status in, the API's out.

Rules of this file:

- Conditions of others (the scheduler's PodScheduled) are not written; one keeps its time while its status stays.
- A pod that has ended has a terminal phase, whatever its containers were doing.
- What only a laptop tells (a process's id, sentences of why a container is not ready) is left out: whoever reads a
  status here must be content with what a real cluster tells.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from argosy.api.containers import Container, ResourceRequirements
from argosy.api.kubernetes import ContainerStatus, Pod, PodStatus
from argosy.edge.processes.ends import ALWAYS, End

TERMINAL: Final = ("Succeeded", "Failed")
RUNTIME: Final = "process"
BACK_OFF: Final = "CrashLoopBackOff"
_WORDS: Final = {"CannotRun": "CreateContainerConfigError"}
ConditionValue = dict[str, str | None]


def api_status(
    pod: Pod, status: PodStatus, *, host: str, before: Sequence[Mapping[str, Any]], now: str, ended: bool = False
) -> dict[str, Any]:
    """Give the status to write; `before` are the conditions written last, `ended` says that no process is left.

    The message of a status without containers is why they are not begun.
    """
    phase = "Failed" if ended and status.phase not in TERMINAL else status.phase
    ids = [{"ip": status.pod_ip}] if status.pod_ip else []
    containers = [_container(pod, each) for each in status.container_statuses]
    containers = containers or _not_begun(pod.spec.containers, status.message)
    inits = [_container(pod, each) for each in status.init_container_statuses]
    inits = inits or _not_begun(pod.spec.init_containers, status.message)
    wanted = _conditions(pod, status, phase)
    known = {condition["type"]: condition for condition in before}
    return {
        "phase": phase,
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "podIP": status.pod_ip or None,
        "podIPs": ids,
        "startTime": status.start_time or now,
        "qosClass": quality(pod),
        "conditions": [_timed(condition, known.get(condition["type"] or ""), now) for condition in wanted],
        "containerStatuses": containers,
        "initContainerStatuses": inits or None,
    }


def end_message(container: Container, end: End, written: str) -> str:
    """Give what a terminated state says: what the container has written for that, or its last words, if asked."""
    asked = container.termination_message_policy == "FallbackToLogsOnError"
    if end.exit is None:
        return end.verdict
    return written or (end.words if asked and end.exit.code != 0 else "")


def quality(pod: Pod) -> str:
    """Give the quality-of-service class (Kubernetes, "Pod Quality of Service Classes")."""
    resources = [each.resources or ResourceRequirements() for each in (*pod.spec.init_containers, *pod.spec.containers)]
    counted = ("cpu", "memory")
    if not any(set(counted) & {*each.requests, *each.limits} for each in resources):
        return "BestEffort"
    whole = all(
        name in each.limits and each.requests.get(name, each.limits[name]) == each.limits[name]
        for each in resources
        for name in counted
    )
    return "Guaranteed" if whole else "Burstable"


def differs(written: Mapping[str, Any], seen: PodStatus) -> bool:
    """Say whether somebody has changed what we wrote: the phase or one of our conditions."""
    theirs = {condition.type: condition.status for condition in seen.conditions}
    ours = {condition["type"]: condition["status"] for condition in written["conditions"]}
    return written["phase"] != seen.phase or any(theirs.get(kind) != value for kind, value in ours.items())


def _conditions(pod: Pod, status: PodStatus, phase: str) -> list[ConditionValue]:
    initialized = _initialized(pod, status)
    unready = [each.name for each in status.container_statuses if not each.ready]
    told = next((condition.status for condition in status.conditions if condition.type == "Ready"), "False")
    if told == "True" and phase == "Running":
        ready: ConditionValue = {"status": "True"}
    elif phase == "Succeeded":
        ready = {"status": "False", "reason": "PodCompleted"}
    else:
        names = " ".join(unready or [each.name for each in pod.spec.containers])
        message = f"containers with unready status: [{names}]"
        ready = {"status": "False", "reason": "ContainersNotReady", "message": message}
    return [
        {"type": "PodReadyToStartContainers", "status": "True" if status.pod_ip and phase not in TERMINAL else "False"},
        {"type": "Initialized", **initialized},
        {"type": "ContainersReady", **ready},
        {"type": "Ready", **ready},
    ]


def _initialized(pod: Pod, status: PodStatus) -> ConditionValue:
    done = {
        each.name
        for each, container in zip(status.init_container_statuses, pod.spec.init_containers, strict=False)
        if each.state.get("terminated", {}).get("exitCode") == 0
        or (container.restart_policy == ALWAYS and each.started)
    }
    missing = [each.name for each in pod.spec.init_containers if each.name not in done]
    if not missing:
        return {"status": "True"}
    message = f"containers with incomplete status: [{' '.join(missing)}]"
    return {"status": "False", "reason": "ContainersNotInitialized", "message": message}


def _timed(wanted: ConditionValue, before: Mapping[str, Any] | None, now: str) -> dict[str, Any]:
    same = before is not None and before["status"] == wanted["status"]
    time = before["lastTransitionTime"] if before is not None and same else now
    return {"reason": None, "message": None, **wanted, "lastTransitionTime": time, "lastProbeTime": None}


def _container(pod: Pod, status: ContainerStatus) -> dict[str, Any]:
    identity = f"{RUNTIME}://{pod.metadata.uid}/{status.name}/{status.restart_count}"
    before = f"{RUNTIME}://{pod.metadata.uid}/{status.name}/{status.restart_count - 1}"
    waits = "waiting" in status.state
    return {
        "name": status.name,
        "image": status.image,
        "imageID": f"{RUNTIME}://{status.image}" if not waits or status.last_state else "",
        "containerID": (before if waits else identity) if not waits or status.last_state else "",
        "ready": status.ready,
        "started": bool(status.started),
        "restartCount": status.restart_count,
        "state": _state(status.state, identity),
        "lastState": _state(status.last_state, before if status.restart_count else identity),
    }


def _state(state: Mapping[str, Any], identity: str) -> dict[str, Any]:
    if state.get("waiting", {}).get("reason") == BACK_OFF:
        return {"waiting": {"reason": BACK_OFF, "message": "back-off restarting failed container"}}
    for kind, told in state.items():
        kept = {name: _WORDS.get(value, value) for name, value in told.items() if name != "pid" and value != ""}
        return {kind: {**kept, "containerID": identity} if kind == "terminated" else kept}
    return {}


def _not_begun(containers: Sequence[Container], why: str | None) -> list[dict[str, Any]]:
    waiting = {"reason": "ContainerCreating", **({"message": why} if why else {})}
    return [
        {
            "name": each.name,
            "image": each.image,
            "imageID": "",
            "ready": False,
            "started": False,
            "restartCount": 0,
            "state": {"waiting": waiting},
            "lastState": {},
        }
        for each in containers
    ]
