"""A Deployment's pods on a laptop."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.containers import Container
from argosy.api.kubernetes import (
    Deployment,
    DeploymentSpec,
    DeploymentStrategy,
    LabelSelector,
    Pod,
    PodSpec,
    PodStatus,
    PodTemplateSpec,
    TemplateMeta,
)
from argosy.api.objects import Condition, Key, ObjectMeta
from argosy.apps.local.deployments import pod_changes

READY = PodStatus(phase="Running", conditions=(Condition(type="Ready", status="True", reason="Ready"),))


def deployment(replicas: int, image: str = "engine:1", strategy: str = "RollingUpdate") -> Deployment:
    labels = {"app": "demo"}
    return Deployment(
        metadata=ObjectMeta(name="demo", namespace="default", uid="u1"),
        spec=DeploymentSpec(
            replicas=replicas,
            selector=LabelSelector(match_labels=labels),
            strategy=DeploymentStrategy(type=strategy),
            template=PodTemplateSpec(
                metadata=TemplateMeta(labels=labels),
                spec=PodSpec(containers=(Container(name="engine", image=image),)),
            ),
        ),
    )


class World:
    """Pods as the store would hold them."""

    def __init__(self) -> None:
        self.pods: dict[Key, Pod] = {}
        self.cpus = 2

    def step(self, wanted: Deployment) -> bool:
        """Apply one round of changes; say whether there were any."""
        changes = pod_changes(wanted, self.pods.values(), cpus=self.cpus)
        for key in changes.delete:
            self.end(key)
        for pod in changes.create:
            assert pod.key not in self.pods
            self.pods[pod.key] = pod
        return bool(changes.create or changes.delete)

    def end(self, key: Key) -> None:
        metadata = msgspec.structs.replace(self.pods[key].metadata, deletion_timestamp="2026-01-01T00:00:00Z")
        self.pods[key] = msgspec.structs.replace(self.pods[key], metadata=metadata)

    def processes_end(self) -> None:
        self.pods = {key: pod for key, pod in self.pods.items() if pod.metadata.deletion_timestamp is None}

    def make_ready(self, name: str) -> None:
        key = Key("default", name)
        self.pods[key] = msgspec.structs.replace(self.pods[key], status=READY)

    def make_all_ready(self) -> None:
        for key in list(self.pods):
            self.make_ready(key.name)

    @property
    def ready(self) -> int:
        return sum(pod.ready for pod in self.pods.values())

    def images(self) -> set[str]:
        return {pod.spec.containers[0].image for pod in self.pods.values()}


def test_pods_are_made_with_the_lowest_free_index() -> None:
    world = World()
    world.step(deployment(3))
    del world.pods[Key("default", "demo-1")]
    world.step(deployment(3))
    assert [key.name for key in sorted(world.pods)] == ["demo-0", "demo-1", "demo-2"]


def test_scaling_down_removes_pods_that_are_not_ready_first_then_the_highest_index() -> None:
    world = World()
    world.step(deployment(3))
    world.make_ready("demo-1")
    world.make_ready("demo-2")
    world.step(deployment(2))
    world.processes_end()
    assert [key.name for key in sorted(world.pods)] == ["demo-1", "demo-2"]
    world.step(deployment(1))
    world.processes_end()
    assert [key.name for key in world.pods] == ["demo-1"]
    world.step(deployment(0))
    world.processes_end()
    assert not world.pods


@given(replicas=st.integers(1, 5), wanted=st.integers(1, 5))
def test_a_rolling_update_never_has_fewer_ready_pods_than_both_sides_want(replicas: int, wanted: int) -> None:
    world = World()
    world.step(deployment(replicas))
    world.make_all_ready()
    floor = min(replicas, wanted)
    changed = deployment(wanted, image="engine:2")
    for _ in range(50):
        moved = world.step(changed)
        assert world.ready >= floor
        world.processes_end()
        assert len(world.pods) <= max(replicas, wanted) + 1
        world.make_all_ready()
        if not moved:
            break
    assert world.images() == {"engine:2"}
    assert len(world.pods) == wanted


def test_a_revision_that_never_gets_ready_does_not_take_the_old_one_down() -> None:
    world = World()
    world.step(deployment(2))
    world.make_all_ready()
    for _ in range(5):
        world.step(deployment(2, image="engine:broken"))
    assert world.ready == 2
    assert len(world.pods) == 3


def test_recreate_takes_the_same_names_when_their_pods_are_gone() -> None:
    world = World()
    world.step(deployment(1, strategy="Recreate"))
    world.make_all_ready()
    anew = deployment(1, image="engine:2", strategy="Recreate")
    assert world.step(anew)
    assert not world.step(anew), "the old one has not ended"
    world.processes_end()
    world.step(anew)
    assert [key.name for key in world.pods] == ["demo-0"]
    assert world.images() == {"engine:2"}


def test_a_rolling_update_does_not_take_the_name_of_a_pod_that_ends_nor_counts_it() -> None:
    world = World()
    world.step(deployment(1))
    world.end(Key("default", "demo-0"))
    changes = pod_changes(deployment(1), world.pods.values(), cpus=2)
    assert [pod.metadata.name for pod in changes.create] == ["demo-1"]
    assert (changes.delete, changes.status.replicas) == ((), 0)


@pytest.mark.parametrize(("ready", "status"), [(0, "False"), (2, "True")])
def test_the_status_counts_ready_pods(ready: int, status: str) -> None:
    world = World()
    world.step(deployment(2))
    for index in range(ready):
        world.make_ready(f"demo-{index}")
    changes = pod_changes(deployment(2), world.pods.values(), cpus=2)
    assert changes.status.ready_replicas == ready
    assert changes.status.conditions[0].status == status


def test_pods_of_others_are_left_alone() -> None:
    stranger = Pod(
        metadata=ObjectMeta(name="demo-0", namespace="default", labels={"app": "demo"}), spec=PodSpec(containers=())
    )
    assert pod_changes(deployment(0), [stranger], cpus=2).delete == ()


def test_pods_that_were_given_other_cpus_are_replaced_one_by_one() -> None:
    world = World()
    world.step(deployment(2))
    world.make_all_ready()
    before = {pod.metadata.labels["pod-template-hash"] for pod in world.pods.values()}
    world.cpus = 1
    while world.step(deployment(2)):
        assert world.ready >= 2
        world.processes_end()
        world.make_all_ready()
    after = {pod.metadata.labels["pod-template-hash"] for pod in world.pods.values()}
    assert len(after) == 1
    assert not before & after
