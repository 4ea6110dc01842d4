"""Observed workloads → the status of each service, in plain sentences."""

from collections.abc import Iterable

from msgspec.structs import replace

from argosy.api.kubernetes import Deployment, Pod
from argosy.api.llmservice import LLMService, LLMServiceStatus, StandIn
from argosy.api.names import SERVICE_LABEL
from argosy.api.objects import Condition, Key
from argosy.decide.planning.plan import Plan

MAX_NAMED = 3
"""Pods, or fields, that a sentence names before it only counts."""


def statuses(
    services: Iterable[LLMService],
    planned: Plan,
    deployments: Iterable[Deployment],
    pods: Iterable[Pod],
    *,
    now: str,
    url: str | None = None,
) -> tuple[LLMService, ...]:
    """Give the services with their status.

    `deployments` and `pods` may be more than the services', in any order. `now` (RFC 3339) dates the conditions that
    change; `url` is where the Gateway is reached, when it is.
    """
    by_key = {deployment.key: deployment for deployment in deployments}
    workers: dict[Key, list[Pod]] = {}
    for pod in sorted(pods, key=lambda pod: pod.key):
        name = pod.metadata.labels.get(SERVICE_LABEL, "")
        workers.setdefault(Key(pod.metadata.namespace or "", name), []).append(pod)
    found = []
    for service in services:
        key = service.key
        status = _status(service, by_key.get(key), workers.get(key, []), planned.stand_ins.get(key, ()))
        dated = tuple(_dated(condition, service, now) for condition in status.conditions)
        found.append(replace(service, status=replace(status, conditions=dated, url=url)))
    return tuple(found)


def _status(
    service: LLMService, deployment: Deployment | None, pods: list[Pod], stand_ins: tuple[StandIn, ...]
) -> LLMServiceStatus:
    wanted = deployment.spec.replicas if deployment else 0
    ready = sum(pod.ready for pod in pods)
    return LLMServiceStatus(
        observed_generation=service.metadata.generation,
        replicas=wanted,
        ready_replicas=ready,
        stand_ins=stand_ins,
        conditions=(
            _planned(deployment, stand_ins),
            _available(deployment, wanted, ready, pods),
            _progressing(deployment, wanted, ready, pods),
        ),
    )


def _planned(deployment: Deployment | None, stand_ins: tuple[StandIn, ...]) -> Condition:
    if deployment is None:
        return _condition("Planned", "False", "Waiting", "The workload has not been made yet.")
    if not stand_ins:
        return _condition("Planned", "True", "AsAsked", "Everything is as the file asks.")
    fields = ", ".join(each.field for each in stand_ins[:MAX_NAMED])
    more = f" and {len(stand_ins) - MAX_NAMED} more" if len(stand_ins) > MAX_NAMED else ""
    return _condition("Planned", "True", "WithStandIns", f"Stand-ins are given for {fields}{more}.")


def _available(deployment: Deployment | None, wanted: int, ready: int, pods: list[Pod]) -> Condition:
    if deployment is not None and not wanted:
        return _condition(
            "Available", "False", "NoReplicas", "replicas is 0: requests for this model are answered 503."
        )
    sentence = _sentence(wanted, ready, pods)
    if ready:
        return _condition("Available", "True", "Ready" if ready >= wanted else "PartlyReady", sentence)
    return _condition("Available", "False", "NotReady", sentence)


def _progressing(deployment: Deployment | None, wanted: int, ready: int, pods: list[Pod]) -> Condition:
    if deployment is not None and ready == wanted == len(pods) and _updated(deployment):
        return _condition("Progressing", "False", "Settled", "Nothing is changing.")
    leaving = [pod for pod in pods if pod.metadata.deletion_timestamp is not None]
    if ready >= wanted and leaving and deployment is not None:
        return _condition("Progressing", "True", "Draining", f"{_names(leaving)} finish running answers and leave.")
    if any(_failing(pod) for pod in pods):
        return _condition("Progressing", "False", "Failing", _sentence(wanted, ready, pods))
    return _condition("Progressing", "True", "Starting", _sentence(wanted, ready, pods))


def _updated(deployment: Deployment) -> bool:
    return deployment.status.updated_replicas == deployment.spec.replicas


def _sentence(wanted: int, ready: int, pods: list[Pod]) -> str:
    """Say how many are ready, and of the others why not."""
    waiting = [pod for pod in pods if not pod.ready]
    count = f"{ready} of {wanted} replica{'' if wanted == 1 else 's'} ready"
    if ready < wanted and not waiting:
        return f"{count}: pods are being made."
    if not waiting:
        return f"{count}."
    reasons = "; ".join(f"{pod.metadata.name} {why_not_ready(pod)}" for pod in waiting[:MAX_NAMED])
    more = f"; {len(waiting) - MAX_NAMED} more" if len(waiting) > MAX_NAMED else ""
    return f"{count}: {reasons}{more}."


def why_not_ready(pod: Pod) -> str:
    """Say what a pod that is not ready is doing, as the end of a sentence that begins with its name."""
    if pod.metadata.deletion_timestamp is not None:
        return "is draining"
    failure = _failing(pod)
    if failure:
        return failure
    if not pod.status.container_statuses:
        return f"is waiting to start{_because(_unscheduled(pod) or pod.status.message)}"
    container = pod.status.container_statuses[0]
    if "running" not in container.state:
        waiting = container.state.get("waiting") or {}
        return f"is waiting to start{_because(waiting.get('message') or waiting.get('reason'))}"
    return "does not answer its readiness probe" if container.started else "is loading weights"


def _failing(pod: Pod) -> str | None:
    """Say that a pod's container keeps ending, with the last reason; None when it does not."""
    for container in pod.status.container_statuses:
        waiting = container.state.get("waiting") or {}
        if waiting.get("reason") in ("CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "CreateContainerError"):
            ended = container.last_state.get("terminated") or {}
            code = f" with exit code {ended['exitCode']}" if "exitCode" in ended else ""
            last = ended.get("message") or waiting.get("message") or waiting["reason"]
            return f"keeps failing{code}, {container.restart_count} restarts{_because(last)}"
    return None


def _unscheduled(pod: Pod) -> str | None:
    return next((c.message for c in pod.status.conditions if c.type == "PodScheduled" and c.status == "False"), None)


def _because(reason: str | None) -> str:
    text = " ".join((reason or "").split()).rstrip(".")
    return f" ({text})" if text else ""


def _names(pods: list[Pod]) -> str:
    return ", ".join(pod.metadata.name for pod in pods)


def _condition(type_: str, status: str, reason: str, message: str) -> Condition:
    return Condition(type=type_, status=status, reason=reason, message=message)


def _dated(condition: Condition, service: LLMService, now: str) -> Condition:
    """Date a condition: a status that stays keeps its time."""
    before = next((c for c in service.status.conditions if c.type == condition.type), None)
    same = before is not None and before.status == condition.status
    return replace(
        condition,
        observed_generation=service.metadata.generation,
        last_transition_time=before.last_transition_time if same and before else now,
    )
