"""The workers of a service by role: which a profile has, what legs they serve, how their workloads are named."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from argosy.api.llmservice import LLMService, Role, Workers
from argosy.api.names import BOTH_ROLES, DECODE_ROLE, PREFILL_ROLE

WorkersName: TypeAlias = Literal["serve", "prefill", "decode", "both"]
"""A field of `spec.workers`."""
ALL_WORKERS: Final[tuple[WorkersName, ...]] = ("serve", "prefill", "decode", "both")
DISAGGREGATED: Final[tuple[WorkersName, ...]] = ("prefill", "decode", "both")
"""Those of the disaggregated profile."""
LEGS: Final[Mapping[WorkersName, str]] = {
    "serve": BOTH_ROLES,
    "prefill": PREFILL_ROLE,
    "decode": DECODE_ROLE,
    "both": BOTH_ROLES,
}
"""What their pods are labelled with (`names.ROLE_LABEL`)."""


def workload_name(service: str, workers: WorkersName) -> str:
    """Give the name of the workload of a service's workers: those that do all of a request have the service's own."""
    return service if workers == "serve" else f"{service}-{workers}"


def workload_names(service: str) -> tuple[str, ...]:
    """Give every name that a workload of a service may have."""
    return tuple(workload_name(service, workers) for workers in ALL_WORKERS)


def services_of(workload: str) -> tuple[str, ...]:
    """Give the services that a workload of this name may belong to."""
    return (workload, *(workload.removesuffix(f"-{name}") for name in DISAGGREGATED if workload.endswith(f"-{name}")))


def standard_role(workers: Workers) -> WorkersName:
    """Give the role of a file that the standard profile has: that of its name, or else the first that answers."""
    answering: tuple[WorkersName, ...] = ("serve", "decode", "both")
    return next((name for name in answering if getattr(workers, name) is not None), "serve")


def workers_of(service: LLMService) -> dict[WorkersName, Role]:
    """Give the workers of a service's profile.

    In the standard profile those of the role `serve`, or ones like another role's (`standard_role`); in the
    disaggregated profile the roles that the file has. One worker of each by default.
    """
    workers = service.spec.workers
    if service.spec.serving.profile == "standard":
        return {"serve": getattr(workers, standard_role(workers)) or Role()}
    found = {"prefill": workers.prefill, "decode": workers.decode, "both": workers.both}
    there: dict[WorkersName, Role] = {name: role for name in DISAGGREGATED if (role := found[name]) is not None}
    return there or {"prefill": Role(), "decode": Role()}
