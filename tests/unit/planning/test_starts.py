"""Where the time of a start went."""

from typing import Any

from argosy.api.containers import Container
from argosy.api.kubernetes import ContainerStatus, Pod, PodSpec, PodStatus
from argosy.api.llmservice import StartTimes
from argosy.api.objects import Condition, ObjectMeta
from argosy.decide.planning.starts import newest_ready, start_times


def pod(
    name: str = "m-a", *, made: str | None = "2026-01-01T00:00:00Z", scheduled: str | None = None, **state: Any
) -> Pod:
    conditions = [Condition(type="Ready", status="True", reason="r")]
    if scheduled:
        conditions.append(Condition(type="PodScheduled", status="True", reason="r", last_transition_time=scheduled))
    container = ContainerStatus(name="engine", ready=True, restart_count=0, state=state)
    return Pod(
        metadata=ObjectMeta(name=name, namespace="default", creation_timestamp=made),
        spec=PodSpec(containers=(Container(name="engine", image="i"),)),
        status=PodStatus(pod_ip="10.0.0.1", conditions=tuple(conditions), container_statuses=(container,)),
    )


def test_each_phase_has_its_time() -> None:
    one = pod(scheduled="2026-01-01T00:00:02Z", running={"startedAt": "2026-01-01T00:00:05Z"})
    assert start_times(one, {"weights": 1.0, "load": 0.25, "warm_up": 0.0304}) == StartTimes(
        pod="m-a", scheduling_ms=2000, starting_ms=3000, weights_ms=1000, load_ms=250, warm_up_ms=30
    )


def test_what_is_not_known_counts_nothing() -> None:
    assert start_times(pod(made=None), {}) == StartTimes(pod="m-a")


def test_a_clock_that_went_back_counts_nothing() -> None:
    assert start_times(pod(scheduled="2025-12-31T00:00:00Z"), {}).scheduling_ms == 0


def test_the_pod_that_was_made_last_is_asked() -> None:
    old, new = pod("m-b"), pod("m-a", made="2026-01-02T00:00:00Z")
    assert newest_ready([new, old]) is new
    assert newest_ready([]) is None
