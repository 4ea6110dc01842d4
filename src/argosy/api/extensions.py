"""CustomResourceDefinition (apiextensions.k8s.io/v1): kinds that an API server learns."""

from typing import Any, ClassVar

from argosy.api.objects import Condition, Object, Value


class CustomResourceDefinitionStatus(Value, frozen=True, kw_only=True):
    """Whether the kind is served: condition Established. A new definition has null for conditions."""

    conditions: tuple[Condition, ...] | None = None


class CustomResourceDefinition(Object, frozen=True, kw_only=True):
    """A kind; its `spec` stays plain values, since schemas are data here and nothing is decided by their inside."""

    API_VERSION: ClassVar[str] = "apiextensions.k8s.io/v1"
    KIND: ClassVar[str] = "CustomResourceDefinition"
    PLURAL: ClassVar[str] = "customresourcedefinitions"
    NAMESPACED: ClassVar[bool] = False

    spec: dict[str, Any]
    status: CustomResourceDefinitionStatus = CustomResourceDefinitionStatus()

    @property
    def established(self) -> bool:
        """Whether objects of the kind can be written."""
        return any(c.type == "Established" and c.status == "True" for c in self.status.conditions or ())

    @property
    def served_versions(self) -> frozenset[str]:
        """The names of the versions that can be read and written."""
        return frozenset(version["name"] for version in self.spec.get("versions", ()) if version.get("served"))
