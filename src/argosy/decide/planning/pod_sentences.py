"""Pods in plain sentences: how many are ready, and of the others why not."""

from collections.abc import Iterable
from typing import Final

from argosy.api.kubernetes import Pod
from argosy.api.llmservice import RoleStatus
from argosy.api.names import SERVICE_LABEL

MAX_NAMED: Final = 3
"""Pods, or fields, that a sentence names before it only counts."""
_FAILURES: Final = (
    "CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerError",
    "CreateContainerConfigError", "RunContainerError",
)  # fmt: skip


def sentence(roles: Iterable[RoleStatus], pods: Iterable[Pod]) -> str:
    """Say how many of each role are ready, and of the others why not. Roles that want none are not spoken of."""
    roles = [role for role in roles if role.replicas]
    waiting = [pod for pod in pods if not pod.ready]
    count = " and ".join(_count(role) for role in roles)
    several = sum(role.replicas for role in roles) != 1
    kind = "replica" if [role.name for role in roles] == ["serve"] else "worker"
    count = f"{count} {kind}{'s' if several else ''} ready"
    if not waiting and any(role.ready_replicas < role.replicas for role in roles):
        return f"{count}: pods are being made."
    if not waiting:
        return f"{count}."
    reasons = "; ".join(f"{pod.metadata.name} {why_not_ready(pod)}" for pod in waiting[:MAX_NAMED])
    more = f"; {len(waiting) - MAX_NAMED} more" if len(waiting) > MAX_NAMED else ""
    return f"{count}: {reasons}{more}."


def _count(role: RoleStatus) -> str:
    return f"{role.ready_replicas} of {role.replicas}{adjective(role.name)}"


def adjective(workers: str) -> str:
    """Give what workers of a role are called, with a space before it; nothing for those that do all of a request."""
    return {"serve": "", "both": " prefill-decode"}.get(workers, f" {workers}")


def why_not_ready(pod: Pod) -> str:
    """Say what a pod that is not ready is doing, as the end of a sentence that begins with its name."""
    if pod.metadata.deletion_timestamp is not None:
        return "is draining"
    failure = failing(pod)
    if failure:
        return failure
    if not pod.status.container_statuses:
        return f"is waiting to start{_because(_unscheduled(pod) or pod.status.message)}"
    container = pod.status.container_statuses[0]
    if "running" not in container.state:
        waiting = container.state.get("waiting") or {}
        return f"is waiting to start{_because(waiting.get('message') or waiting.get('reason'))}"
    if container.started:
        return "does not answer its readiness probe"
    return "is loading weights" if SERVICE_LABEL in pod.metadata.labels else "is starting"


def failing(pod: Pod) -> str | None:
    """Say that a pod's container keeps ending, with the last reason; None when it does not."""
    for container in pod.status.container_statuses:
        waiting = container.state.get("waiting") or {}
        if waiting.get("reason") in _FAILURES:
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


def names(pods: Iterable[Pod]) -> str:
    """Name pods in a row."""
    return ", ".join(pod.metadata.name for pod in pods)
