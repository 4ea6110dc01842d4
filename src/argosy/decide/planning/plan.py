"""All services and what is observed → desired objects, changes in order, and stand-ins.

All services are planned together: they share one Gateway and, on a laptop, one machine's CPUs.
"""

from collections.abc import Iterable, Mapping

import msgspec

from argosy.api.llmservice import LLMService, StandIn
from argosy.api.objects import Key, Object
from argosy.decide.planning.capabilities import CLUSTER, CLUSTER_CPUS, Capabilities, Weights
from argosy.decide.planning.changes import Change, changes, marked
from argosy.decide.planning.installation import Installation, installation_objects
from argosy.decide.planning.stand_ins import Served, served
from argosy.decide.planning.workload import workload


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted, the way there, and what is given instead of what was asked for, by service."""

    objects: tuple[Object, ...]
    changes: tuple[Change, ...]
    stand_ins: dict[Key, tuple[StandIn, ...]]


def plan(
    services: Iterable[LLMService],
    observed: Iterable[Object] = (),
    installation: Installation = Installation(),  # noqa: B008 - a frozen value
    capabilities: Capabilities = CLUSTER,
    weights: Mapping[str, Weights] | None = None,
) -> Plan:
    """Give the plan for exactly these services: what earlier ones made and nobody wants any more is removed.

    The order of `services` and `observed` is of no consequence. Services are valid (`api.rules`); their uid, where
    they have one, makes them owners of their objects. `weights` says what is known of them, by source.
    """
    all_served = [served(service, capabilities, weights or {}) for service in sorted(services, key=lambda s: s.key)]
    cpus = _cpus_per_replica(all_served, capabilities)
    objects = [*installation_objects(installation)]
    for each in all_served:
        objects.extend(workload(each, cpus_per_replica=cpus))
    desired = tuple(marked(obj) for obj in objects)
    return Plan(
        objects=desired,
        changes=changes(desired, observed),
        stand_ins={each.service.key: each.stand_ins for each in all_served},
    )


def _cpus_per_replica(all_served: Iterable[Served], capabilities: Capabilities) -> int:
    """Share a machine's CPUs out among all replicas, at least one each."""
    if capabilities.cpus is None:
        return CLUSTER_CPUS
    return max(1, capabilities.cpus // max(1, sum(each.replicas for each in all_served)))
