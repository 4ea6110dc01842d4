"""What all objects share, and how an object becomes JSON and back.

Rules of this file:

- An object is a frozen struct; its `API_VERSION`, `KIND` and `PLURAL` are class variables.
- Structs hold the fields that Argosy reads or writes. Fields of others are dropped on reading, so an object read
  from a server is never written back whole.
- `encode` and `decode` are inverses for what Argosy writes.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A part of an object."""


class OwnerReference(Value, frozen=True, kw_only=True):
    """The object that this one goes with: deleted when that one is."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None


class ObjectMeta(Value, frozen=True, kw_only=True):
    """Name, labels and what the store keeps: uid, resource version, generation, times (RFC 3339), the end's grace."""

    name: str
    namespace: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None


class Condition(Value, frozen=True, kw_only=True):
    """One sentence of status, as `metav1.Condition`."""

    type: str
    status: str
    reason: str = ""
    """Never empty in ours; kubelets and schedulers leave it out of a Pod's."""
    message: str = ""
    observed_generation: int | None = None
    last_transition_time: str | None = None


class Object(Value, frozen=True, kw_only=True):
    """Anything with a kind and metadata."""

    API_VERSION: ClassVar[str]
    KIND: ClassVar[str]
    PLURAL: ClassVar[str]
    NAMESPACED: ClassVar[bool] = True

    metadata: ObjectMeta

    @property
    def key(self) -> "Key":
        """Namespace and name."""
        return Key(self.metadata.namespace or "", self.metadata.name)


class Key(NamedTuple):
    """Names an object within its kind; `namespace` is empty for cluster-scoped kinds."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @classmethod
    def parse(cls, text: str) -> "Key":
        """Read `namespace/name` or `name`."""
        namespace, _, name = text.rpartition("/")
        return cls(namespace, name)


K = TypeVar("K", bound=Object)


def encode(obj: Object) -> dict[str, Any]:
    """Give the object as plain values, `apiVersion` and `kind` first."""
    return {"apiVersion": obj.API_VERSION, "kind": obj.KIND, **msgspec.to_builtins(obj)}


def decode(kind: type[K], raw: Mapping[str, Any]) -> K:
    """Read an object of a known kind. Raises `msgspec.ValidationError`, which names the path of what is wrong.

    What is null is not there: an API server writes some empty lists so.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError:
        return msgspec.convert(_without_nulls(raw), kind)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list | tuple) else value
