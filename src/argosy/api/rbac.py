"""Rights (rbac.authorization.k8s.io/v1): roles and who has them."""

from typing import ClassVar, Final

from argosy.api.objects import Object, Value

GROUP: Final = "rbac.authorization.k8s.io"


class PolicyRule(Value, frozen=True, kw_only=True):
    """Verbs on resources of API groups, `""` being the core one; `resource_names` narrows them to objects by name."""

    api_groups: tuple[str, ...]
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    resource_names: tuple[str, ...] = ()


class RoleRef(Value, frozen=True, kw_only=True):
    """The role that a binding gives; `api_group` is `GROUP`, and is always written."""

    api_group: str
    kind: str
    name: str


class Subject(Value, frozen=True, kw_only=True):
    """Whom a binding gives it to, such as a ServiceAccount."""

    kind: str
    name: str
    namespace: str


class Role(Object, frozen=True, kw_only=True):
    """Rights in one namespace."""

    API_VERSION: ClassVar[str] = f"{GROUP}/v1"
    KIND: ClassVar[str] = "Role"
    PLURAL: ClassVar[str] = "roles"

    rules: tuple[PolicyRule, ...]


class ClusterRole(Object, frozen=True, kw_only=True):
    """Rights in the whole cluster."""

    API_VERSION: ClassVar[str] = f"{GROUP}/v1"
    KIND: ClassVar[str] = "ClusterRole"
    PLURAL: ClassVar[str] = "clusterroles"
    NAMESPACED: ClassVar[bool] = False

    rules: tuple[PolicyRule, ...]


class RoleBinding(Object, frozen=True, kw_only=True):
    """Gives a role's rights in one namespace."""

    API_VERSION: ClassVar[str] = f"{GROUP}/v1"
    KIND: ClassVar[str] = "RoleBinding"
    PLURAL: ClassVar[str] = "rolebindings"

    role_ref: RoleRef
    subjects: tuple[Subject, ...]


class ClusterRoleBinding(Object, frozen=True, kw_only=True):
    """Gives a role's rights in the whole cluster."""

    API_VERSION: ClassVar[str] = f"{GROUP}/v1"
    KIND: ClassVar[str] = "ClusterRoleBinding"
    PLURAL: ClassVar[str] = "clusterrolebindings"
    NAMESPACED: ClassVar[bool] = False

    role_ref: RoleRef
    subjects: tuple[Subject, ...]
