import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.containers import Container, EnvVar, EnvVarSource, FieldRef, ResourceFieldRef
from argosy.api.kubernetes import Pod, PodSpec
from argosy.api.objects import ObjectMeta
from argosy.edge.processes.environment import Unresolvable, container_variables, expand, pod_fields
from argosy.edge.processes.pods import image_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)z", "x1y2z"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("$()", "$()"),
        ("$(LOOKS)", "$(A)"),
    ],
)
def test_references_are_replaced_as_kubernetes_does(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2", "LOOKS": "$(A)"}) == expected


@given(st.text())
def test_a_doubled_dollar_protects_any_text(text: str) -> None:
    assert expand(text.replace("$", "$$"), {"A": "1"}) == text


def pod(*env: EnvVar) -> Pod:
    return Pod(
        metadata=ObjectMeta(name="p-0", namespace="space", labels={"role": "x"}),
        spec=PodSpec(containers=(Container(name="c", image="i", env=env),)),
    )


def field(path: str) -> EnvVarSource:
    return EnvVarSource(field_ref=FieldRef(field_path=path))


def variables(*env: EnvVar, given: dict[str, str] | None = None) -> dict[str, str]:
    obj = pod(*env)
    return container_variables(env, given or {}, pod_fields(obj, address="127.9.9.9", limits={"cpu": "2"}))


def test_fields_and_limits_of_the_pod_become_variables() -> None:
    assert variables(
        EnvVar(name="NAME", value_from=field("metadata.name")),
        EnvVar(name="SPACE", value_from=field("metadata.namespace")),
        EnvVar(name="IP", value_from=field("status.podIP")),
        EnvVar(name="ROLE", value_from=field("metadata.labels['role']")),
        EnvVar(name="CPU", value_from=EnvVarSource(resource_field_ref=ResourceFieldRef(resource="limits.cpu"))),
    ) == {"NAME": "p-0", "SPACE": "space", "IP": "127.9.9.9", "ROLE": "x", "CPU": "2"}


def test_a_variable_sees_those_given_and_those_before_it_and_none_after_it() -> None:
    seen = variables(
        EnvVar(name="A", value="$(HOST):$(B)"),
        EnvVar(name="B", value="[$(A)]"),
        EnvVar(name="EMPTY"),
        given={"HOST": "h"},
    )
    assert seen == {"HOST": "h", "A": "h:$(B)", "B": "[h:$(B)]", "EMPTY": ""}


@pytest.mark.parametrize("path", ["status.phase", "metadata.labels['none']"])
def test_an_unknown_field_is_refused_with_the_name_of_the_variable(path: str) -> None:
    with pytest.raises(Unresolvable, match="variable WHAT"):
        variables(EnvVar(name="WHAT", value_from=field(path)))


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("argosy/engine", "argosy/engine"),
        ("argosy/engine:0.1", "argosy/engine"),
        ("registry:5000/a/b:1@sha256:00", "registry:5000/a/b"),
        ("registry:5000/a/b", "registry:5000/a/b"),
        ("b@sha256:00", "b"),
    ],
)
def test_an_images_name_is_without_tag_and_digest(image: str, name: str) -> None:
    assert image_name(image) == name
