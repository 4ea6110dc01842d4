"""Desired and observed objects → the changes that make them agree, in order.

Rules of this file:

- An object is right when what is wanted is part of what is there (a server adds defaults and fields of others) and its
  mark is that of what is wanted. The mark finds fields that are no longer wanted, which a part cannot show.
- First everything is made, in the order given, then what nobody wants is removed, in the reverse order of kinds, so
  that a name moves from one service to another without a gap.
- Only objects that carry our label are removed, and never a namespace.
- The order of what is observed is of no consequence.
"""

import hashlib
from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from argosy.api.gateway import HTTPRoute
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Deployment, Service, ServiceAccount
from argosy.api.names import MANAGED_BY
from argosy.api.objects import Object, encode
from argosy.api.policy import NetworkPolicy, PodDisruptionBudget
from argosy.decide.planning.pods import OWNER

MARK: Final = "argosy.dev/planned"
"""Annotation: a hash of everything that planning wants of the object."""
REMOVABLE: Final = (
    HTTPRoute, InferencePool, PodDisruptionBudget, Deployment, Service, NetworkPolicy, ServiceAccount,
)  # fmt: skip
"""Kinds that come and go with services, in the order of removal."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Make an object so, or remove it. For a deletion `object` is what was observed, with its uid."""

    verb: Literal["create", "update", "delete"]
    object: Object

    @property
    def delete(self) -> bool:
        """Whether the object is to go."""
        return self.verb == "delete"


def marked(obj: Object) -> Object:
    """Give the object with its mark."""
    digest = hashlib.sha256(msgspec.json.encode(encode(obj), order="deterministic")).hexdigest()[:16]
    annotations = {**obj.metadata.annotations, MARK: digest}
    marked_object: Object = replace(obj, metadata=replace(obj.metadata, annotations=annotations))
    return marked_object


def changes(desired: Iterable[Object], observed: Iterable[Object]) -> tuple[Change, ...]:
    """Give the changes; `desired` are marked and in the order of creation."""
    there = {(obj.KIND, obj.key): obj for obj in observed}
    wanted = {(obj.KIND, obj.key): obj for obj in desired}
    made: list[Change] = []
    for name, obj in wanted.items():
        if name not in there:
            made.append(Change(verb="create", object=obj))
        elif not contains(encode(there[name]), encode(obj)):
            made.append(Change(verb="update", object=obj))
    removed = [
        Change(verb="delete", object=obj)
        for kind in REMOVABLE
        for name, obj in sorted(there.items(), key=lambda item: item[0])
        if isinstance(obj, kind) and name not in wanted and obj.metadata.labels.get(MANAGED_BY) == OWNER
    ]
    return (*made, *removed)


def contains(whole: Any, part: Any) -> bool:
    """Whether plain values hold at least what others say; lists must agree in length, and empty is absent."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            contains(whole.get(name), item) for name, item in part.items() if item not in (None, {}, [], ())
        )
    if isinstance(part, list | tuple):
        return (
            isinstance(whole, list | tuple)
            and len(whole) == len(part)
            and all(contains(each, item) for each, item in zip(whole, part, strict=True))
        )
    return bool(whole == part)
