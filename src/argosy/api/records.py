"""What an API server records of an object, whatever its kind: identity, labels, who writes it, and whether it goes."""

from typing import NamedTuple

from argosy.api.objects import Key, Object


class Record(NamedTuple):
    """One object. `managers` are the names under which its fields are written.

    `deleted_at` is when it was asked to go (RFC 3339), and `finalizers` are what must be done before it does.
    """

    kind: type[Object]
    key: Key
    uid: str
    labels: dict[str, str]
    managers: frozenset[str]
    deleted_at: str | None = None
    finalizers: tuple[str, ...] = ()

    @property
    def why_still_there(self) -> str:
        """Say why an object that is to go is still there."""
        if self.deleted_at is None:
            return "waits for whoever removes it with its owner"
        return f"is ending; first {', '.join(self.finalizers)}" if self.finalizers else "is ending"

    def __str__(self) -> str:
        return f"{self.kind.KIND} {self.key}"
