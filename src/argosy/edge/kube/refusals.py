"""What an API server answers other than what was asked for → the port's errors.

Rules of this file:

- What is not served or not allowed yet may be later, so reading goes on trying; a write that is refused says why.
- The server words a conflict `conflict with "MANAGER"`, then ` with subresource "NAME"` if it was one, then ` using
  VERSION` if the manager updated the field and did not apply it.

Source: k8s.io/apimachinery, managedfields/internal/conflict.go.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import msgspec

from argosy.api.objects import Object
from argosy.base.errors import PeerError
from argosy.edge.kube.connection import AnsweredWith, Cause
from argosy.edge.kube.port import Gone, NotFound, NotServed, OwnedByAnother, Rejected, StoreUnavailable, Withheld

_CONFLICT: Final = re.compile(r'conflict with "([^"]*)"(?: with subresource "([^"]*)")?( using )?')


class Conflict(NamedTuple):
    """A field that somebody else holds with another value."""

    field: str
    manager: str
    subresource: str
    updated: bool
    """A hand's: it was updated, not applied."""

    @property
    def may_be_taken(self) -> bool:
        """Whoever updates a field knows of no owners; who applies it, or scales, means to keep it."""
        return self.updated and not self.subresource


@contextmanager
def reading(kind: type[Object]) -> Iterator[None]:
    """Raise the port's errors for what may go wrong in reading objects of a kind."""
    try:
        yield
    except AnsweredWith as answer:
        raise read_error(kind, answer) from answer
    except (msgspec.DecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreUnavailable(f"the API server's answer cannot be read: {error}") from error


def read_error(kind: type[Object], answer: AnsweredWith) -> PeerError:
    """Give the port's error for a refusal to read."""
    if answer.status.code == 410:
        return Gone(str(answer))
    kinds: dict[int, type[StoreUnavailable]] = {401: Withheld, 403: Withheld, 404: NotServed}
    kind_of_error = kinds.get(answer.status.code, StoreUnavailable)
    return kind_of_error(f"{kind.PLURAL} of {kind.API_VERSION} cannot be read: {answer}")


@contextmanager
def writing(obj: Object, owner: str) -> Iterator[None]:
    """Raise the port's errors for what may go wrong in writing an object."""
    try:
        yield
    except AnsweredWith as answer:
        raise write_error(answer, obj, owner) from answer


def write_error(answer: AnsweredWith, obj: Object, owner: str) -> PeerError:
    """Give the port's error for a refusal to write an object."""
    for conflict in conflicts(answer):
        return OwnedByAnother(kind=obj.KIND, key=obj.key, owner=conflict.manager, applied_by=owner)
    return refusal(answer, f"{obj.KIND} {obj.key}: ")


def refusal(answer: AnsweredWith, about: str = "") -> PeerError:
    """Give the port's error for a refusal that is no conflict of managers."""
    message = f"{about}{answer}"
    match answer.status.code:
        case 404:
            return NotFound(message)
        case 400 | 403 | 405 | 413 | 415 | 422:
            return Rejected(message)
        case _:
            return StoreUnavailable(message)


def conflicts(answer: AnsweredWith) -> tuple[Conflict, ...]:
    """Give the fields that others hold otherwise; none when the refusal is of another kind."""
    return tuple(_conflict(cause) for cause in answer.status.causes if cause.reason == "FieldManagerConflict")


def _conflict(cause: Cause) -> Conflict:
    said = _CONFLICT.match(cause.message)
    if said is None:
        return Conflict(cause.field, cause.message, "", updated=False)
    return Conflict(cause.field, said[1], said[2] or "", updated=said[3] is not None)
