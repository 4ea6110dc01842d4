"""What the states of a pod's containers mean for the pod. Pure.

Source of the phases: Kubernetes, "Pod lifecycle", "Pod phase".
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from argosy.api.kubernetes import ContainerStatus


class Told(Protocol):
    """A container, as far as it tells what became of it."""

    finished: bool

    @property
    def status(self) -> ContainerStatus:
        """Its status."""

    @property
    def succeeded(self) -> bool:
        """Whether its last run ended with exit code 0."""


def phase(inits: Sequence[Told], containers: Sequence[Told]) -> str:
    """Give the phase of a pod; `inits` are the init containers that run once."""
    if any(each.finished and not each.succeeded for each in inits):
        return "Failed"
    if containers and all(each.finished for each in containers):
        return "Succeeded" if all(each.succeeded for each in containers) else "Failed"
    begun = all("waiting" not in each.status.state or each.status.last_state for each in containers)
    return "Running" if begun else "Pending"


def readiness(containers: Iterable[tuple[ContainerStatus, str]]) -> tuple[bool, str]:
    """Say whether all are ready, and a sentence: for each that is not its own."""
    reasons = [f"container {status.name}: {why}" for status, why in containers if not status.ready]
    return not reasons, "; ".join(reasons) or "all containers are ready"
