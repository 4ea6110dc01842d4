"""All services and what is observed → desired objects, changes in order, and stand-ins.

All services are planned together: they share one Gateway. The objects are the same wherever they run; a place shows
in the stand-ins alone.
"""

from collections.abc import Iterable, Mapping

import msgspec

from argosy.api.llmservice import LLMService, StandIn
from argosy.api.objects import Key, Object
from argosy.decide.planning.capabilities import CLUSTER, Capabilities, Weights
from argosy.decide.planning.changes import Change, changes, marked
from argosy.decide.planning.installation import Installation, installation_objects
from argosy.decide.planning.stand_ins import served
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
    objects = [*installation_objects(installation)]
    for each in all_served:
        objects.extend(workload(each))
    desired = tuple(marked(obj) for obj in objects)
    return Plan(
        objects=desired,
        changes=changes(desired, observed),
        stand_ins={each.service.key: each.stand_ins for each in all_served},
    )
