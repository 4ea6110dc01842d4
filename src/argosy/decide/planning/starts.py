"""Where the time of a replica's start went: what the cluster says of its pod, and what its engine says of itself."""

import datetime as dt
from collections.abc import Iterable, Mapping

from argosy.api.kubernetes import Pod
from argosy.api.llmservice import StartTimes


def newest_ready(pods: Iterable[Pod]) -> Pod | None:
    """Give the pod that was made last among those that are ready and have an address."""
    ready = (pod for pod in pods if pod.ready and pod.status.pod_ip)
    return max(ready, key=lambda pod: (pod.metadata.creation_timestamp or "", pod.metadata.name), default=None)


def start_times(pod: Pod, phases_s: Mapping[str, float]) -> StartTimes:
    """Give the times. `phases_s` are the engine's own, in seconds: weights, load, warm_up; absent ones count 0.

    Kubernetes dates to the second, so what it knows is known to the second.
    """
    made = pod.metadata.creation_timestamp
    scheduled = next((c.last_transition_time for c in pod.status.conditions if c.type == "PodScheduled"), None) or made
    running = pod.status.container_statuses[0].state.get("running") if pod.status.container_statuses else None
    started = (running or {}).get("startedAt") or scheduled
    return StartTimes(
        pod=pod.metadata.name,
        scheduling_ms=_between_ms(made, scheduled),
        starting_ms=_between_ms(scheduled, started),
        **{f"{phase}_ms": round(phases_s.get(phase, 0.0) * 1000) for phase in ("weights", "load", "warm_up")},
    )


def _between_ms(begun: str | None, ended: str | None) -> int:
    if begun is None or ended is None:
        return 0
    seconds = (dt.datetime.fromisoformat(ended) - dt.datetime.fromisoformat(begun)).total_seconds()
    return max(0, round(seconds * 1000))
