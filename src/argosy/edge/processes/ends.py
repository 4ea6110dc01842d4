"""How a container's process ended, and whether it is started again. Pure.

Source of what restarts: Kubernetes, "Pod lifecycle", "Container restart policy".
"""

from typing import Final

import msgspec

from argosy.edge.processes.process import Exit

ALWAYS: Final = "Always"
ON_FAILURE: Final = "OnFailure"


class End(msgspec.Struct, frozen=True, kw_only=True):
    """One end: its exit (None: it could not be started), its last words, and why it was ended by us, if it was."""

    exit: Exit | None
    words: str = ""
    verdict: str = ""
    full_disk: str = ""
    """The log whose disk was full, if one was."""

    @property
    def sentence(self) -> str:
        """All that is known of it, for a person."""
        if self.exit is None:
            return self.verdict
        told = f"{self.verdict}; then {self.exit}" if self.verdict else str(self.exit)
        if self.full_disk:
            told += f"; the disk of {self.full_disk} is full"
        return f"{told}; its last words: {self.words}" if self.words else told


def restarts(policy: str, end: End) -> bool:
    """Say whether a container of this restart policy is started again after this end."""
    return policy == ALWAYS or (policy == ON_FAILURE and (end.exit is None or end.exit.code != 0))
