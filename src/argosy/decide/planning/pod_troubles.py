"""Why a pod is not ready, from what scheduler, kubelet and container say of it, and what to do.

Sources: kubernetes.io, "Pod Lifecycle" and "Debug Pods"; waiting reasons: k8s.io/kubernetes, pkg/kubelet/images and
pkg/kubelet/kuberuntime; the scheduler's words: k8s.io/kubernetes, pkg/scheduler/framework/plugins.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from argosy.api.coordination import Event
from argosy.api.kubernetes import ContainerStatus, Pod
from argosy.decide.planning.findings import Finding, condition, one_line, unclear, wrong

_IMAGE: Final = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_SETTING_UP: Final = ("ContainerCreating", "PodInitializing", "Waiting")
_INSUFFICIENT: Final = re.compile(r"Insufficient ([\w./-]*\w)")
_FIELDS: Final = {"cpu": "hardware.cpu", "memory": "hardware.memory"}
_KILLED: Final = 137
"""128 and SIGKILL."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What was read about a pod beside itself: its Events, oldest first, and the last words of its last run."""

    events: tuple[Event, ...] = ()
    last_words: str = ""


def pod_trouble(pod: Pod, told: Told) -> Finding | None:
    """Say why a pod is not ready; None of one that is, or that is being deleted."""
    if pod.ready or pod.metadata.deletion_timestamp is not None:
        return None
    name = pod.metadata.name
    if pod.status.phase == "Failed":
        why = one_line(pod.status.message) or "it ended"
        return wrong(f"Pod {name} has failed: {why}.", f"kubectl describe pod {name} says more")
    if pod.spec.node_name is None:
        return _unscheduled(pod)
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        found = _container_trouble(pod, status, told)
        if found is not None:
            return found
    said = one_line(pod.status.message) or _warning(told.events)
    because = f": {said}" if said else ""
    return unclear(f"Pod {name} has not begun to start{because}.", f"kubectl describe pod {name}")


def _unscheduled(pod: Pod) -> Finding:
    name, scheduled = pod.metadata.name, condition(pod.status.conditions, "PodScheduled")
    if scheduled is None or scheduled.status != "False":
        return wrong(f"No scheduler has looked at pod {name} yet.", "see whether kube-scheduler runs")
    said = one_line(scheduled.message)
    if scheduled.reason == "SchedulingGated":
        return wrong(f"Pod {name} waits in a queue for quota: {said}.", "see the queue: kubectl get workloads")
    return wrong(f"Pod {name} fits on no node: {said}.", _room(said))


def _room(said: str) -> str:
    """Say how a pod may fit on a node, from the scheduler's words."""
    missing = sorted(set(_INSUFFICIENT.findall(said)))
    if missing:
        fields = [f"spec.workers.*.{_FIELDS[each]}" for each in missing if each in _FIELDS]
        less = f"ask for less with {' and '.join(fields)}, or " if fields else ""
        return f"{less}add a node that has {' and '.join(missing)} free"
    if "taint" in said:
        return "take the taint from a node, or add one without: kubectl describe nodes"
    if "affinity" in said or "selector" in said:
        return "label a node as spec.workers.*.hardware.nodeSelector says, or change that: kubectl describe nodes"
    return "kubectl describe nodes shows what each has free"


def _container_trouble(pod: Pod, status: ContainerStatus, told: Told) -> Finding | None:
    waiting: dict[str, Any] | None = status.state.get("waiting")
    ended: dict[str, Any] | None = status.state.get("terminated")
    if waiting is not None:
        return _waiting(pod, status, waiting, told)
    if ended is not None:
        done = ended.get("exitCode") == 0 and status in pod.status.init_container_statuses
        return None if done else _ended(pod, status, ended, told)
    if status.ready:
        return None
    name = pod.metadata.name
    if status.started:
        said = _warning(told.events, "Unhealthy")
        because = f": {said}" if said else ""
        return wrong(f"Pod {name} runs and does not answer its readiness probe{because}.", f"argosy logs {name}")
    last = status.last_state.get("terminated")
    if last is not None:
        return _ended(pod, status, last, told)
    return unclear(f"Pod {name} is loading: it runs, and has not answered yet.", f"argosy logs {name} -f shows how far")


def _waiting(pod: Pod, status: ContainerStatus, waiting: dict[str, Any], told: Told) -> Finding:
    name, reason = pod.metadata.name, waiting.get("reason") or ""
    said = one_line(waiting.get("message"))
    if reason in _IMAGE:
        spec = (each for each in (*pod.spec.init_containers, *pod.spec.containers) if each.name == status.name)
        image = next((each.image for each in spec), status.image)
        return wrong(
            f"Pod {name} cannot get image {image}: {said or reason}.",
            "see that name and tag are right, that nodes reach the registry, and that its credentials are there",
        )
    last = status.last_state.get("terminated")
    if last is not None:
        return _ended(pod, status, last, told)
    said = said or _warning(told.events)
    because = f": {said}" if said else ""
    if reason in _SETTING_UP or not reason:
        return unclear(f"Pod {name} is being set up{because}.", f"kubectl describe pod {name}")
    return wrong(f"Pod {name} cannot start, {reason}{because}.", f"kubectl describe pod {name}")


def _ended(pod: Pod, status: ContainerStatus, ended: dict[str, Any], told: Told) -> Finding:
    name, code = pod.metadata.name, ended.get("exitCode")
    again = f", {status.restart_count} restarts so far" if status.restart_count else ""
    if ended.get("reason") == "OOMKilled":
        return wrong(
            f"Pod {name} was killed because it took more memory than its limit{_limit(pod, status)}{again}.",
            "raise spec.workers.*.hardware.memory, or lower engine.contextTokens or engine.parallelRequests",
        )
    unhealthy = _warning(told.events, "Unhealthy")
    if code == _KILLED and "probe failed" in unhealthy:
        return wrong(
            f"Pod {name} was killed because it did not answer in time: {unhealthy}{again}.",
            f"argosy logs {name} --previous shows what it did",
        )
    words = one_line(ended.get("message")) or one_line(told.last_words)
    because = f": {words}" if words else ""
    return wrong(f"Pod {name} ends with exit code {code}{again}{because}.", f"argosy logs {name} --previous")


def _limit(pod: Pod, status: ContainerStatus) -> str:
    for container in pod.spec.containers:
        if container.name == status.name and container.resources and "memory" in container.resources.limits:
            return f" of {container.resources.limits['memory']}"
    return ""


def _warning(events: Iterable[Event], reason: str | None = None) -> str:
    """Give the words of the newest warning."""
    found = [each for each in events if each.type == "Warning" and reason in (None, each.reason)]
    return one_line(found[-1].message) if found else ""
