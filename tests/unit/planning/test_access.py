"""Rights: by component, least, and valid objects."""

import msgspec

from argosy.api import rbac
from argosy.api.kubernetes import ServiceAccount
from argosy.api.names import SYSTEM_NAMESPACE
from argosy.api.objects import ObjectMeta, encode
from argosy.decide.planning.access import PICKER_TLS, RIGHTS, access
from harness.schemas import check_object

WRITING = {"create", "patch", "update", "delete"}


def metadata(name: str) -> ObjectMeta:
    return ObjectMeta(name=f"argosy-{name}", namespace=SYSTEM_NAMESPACE)


def rules(name: str) -> list[rbac.PolicyRule]:
    return [*RIGHTS[name].everywhere, *RIGHTS[name].at_home]


def test_every_component_has_an_account_of_its_own_and_roles_bound_to_it_alone() -> None:
    for name in RIGHTS:
        made = access(RIGHTS[name], metadata(name))
        assert isinstance(made[0], ServiceAccount)
        bindings = [obj for obj in made if isinstance(obj, rbac.ClusterRoleBinding | rbac.RoleBinding)]
        roles = {(obj.KIND, obj.metadata.name) for obj in made if isinstance(obj, rbac.ClusterRole | rbac.Role)}
        assert {(binding.role_ref.kind, binding.role_ref.name) for binding in bindings} == roles
        for binding in bindings:
            assert [(s.name, s.namespace) for s in binding.subjects] == [(f"argosy-{name}", SYSTEM_NAMESPACE)]


def test_objects_are_valid_by_the_published_schemas() -> None:
    for name in RIGHTS:
        for obj in access(RIGHTS[name], metadata(name)):
            check_object(msgspec.json.decode(msgspec.json.encode(encode(obj))))


def test_nothing_is_allowed_by_a_wildcard() -> None:
    for name in RIGHTS:
        for rule in rules(name):
            assert "*" not in (*rule.api_groups, *rule.resources, *rule.verbs)


def test_the_picker_only_looks_on() -> None:
    assert all(set(rule.verbs) == {"list", "watch"} for rule in rules("picker"))


def test_secrets_are_one_by_name_and_only_the_operators() -> None:
    seen = [(name, rule.resource_names) for name in RIGHTS for rule in rules(name) if "secrets" in rule.resources]
    assert seen == [("operator", (PICKER_TLS,))]
    assert not any("secrets" in rule.resources for name in RIGHTS for rule in RIGHTS[name].everywhere)


def test_pods_are_read_never_written() -> None:
    for name in RIGHTS:
        for rule in rules(name):
            assert not ("pods" in rule.resources and WRITING & set(rule.verbs))
