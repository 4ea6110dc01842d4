"""All services and what is observed → desired objects, changes in order, and stand-ins.

`plan` plans everything together, as one machine has it: the installation and all services. `service_plan` plans one
service, as an operator does whenever something of it has changed. Both make the same objects; a place shows in the
stand-ins alone.
"""

from collections.abc import Iterable, Mapping

import msgspec

from argosy.api.kubernetes import Deployment, Pod
from argosy.api.llmservice import LLMService, StandIn
from argosy.api.names import MANAGED_BY, SERVICE_LABEL
from argosy.api.objects import Key, Object
from argosy.decide.planning.capabilities import CLUSTER, Capabilities, Weights
from argosy.decide.planning.changes import Change, changes, marked
from argosy.decide.planning.installation import Installation, installation_objects
from argosy.decide.planning.pods import OWNER
from argosy.decide.planning.stand_ins import served
from argosy.decide.planning.takeover import staying
from argosy.decide.planning.workload import workload


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted, the way there, and what is given instead of what was asked for, by service.

    `leaving` are Deployments that nobody wants any more, and that stay until others serve in their place; they are
    among `objects`, as they are.
    """

    objects: tuple[Object, ...]
    changes: tuple[Change, ...]
    stand_ins: dict[Key, tuple[StandIn, ...]]
    leaving: frozenset[Key] = frozenset()


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
    objects = [marked(obj) for obj in installation_objects(installation)]
    stay: list[Object] = []
    observed = tuple(observed)
    pods = [obj for obj in observed if isinstance(obj, Pod)]
    for each in all_served:
        wanted = [marked(obj) for obj in workload(each, pods)]
        objects += wanted
        stay += staying(each.service.key, wanted, observed, pods)
    names = {(obj.KIND, obj.key) for obj in objects}
    stay = [obj for obj in stay if (obj.KIND, obj.key) not in names]
    desired = (*objects, *stay)
    return Plan(
        objects=desired,
        changes=changes(desired, observed),
        stand_ins={each.service.key: each.stand_ins for each in all_served},
        leaving=_deployments(stay),
    )


class ServicePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one service wants, the way there, and what stands in the way.

    `strangers` are objects of names that the service needs, and that are somebody else's: while there are any, nothing
    is changed. `leaving` is as of `Plan`.
    """

    objects: tuple[Object, ...]
    changes: tuple[Change, ...]
    stand_ins: tuple[StandIn, ...]
    strangers: tuple[Object, ...] = ()
    leaving: frozenset[Key] = frozenset()


def service_plan(
    service: LLMService,
    observed: Iterable[Object],
    pods: Iterable[Pod] = (),
    capabilities: Capabilities = CLUSTER,
) -> ServicePlan:
    """Plan one service that is in a store.

    `observed` are the objects of its names, of the kinds that services own; `pods` are its pods.
    """
    this = served(service, capabilities, {})
    observed, pods = tuple(observed), tuple(pods)
    wanted = [marked(obj) for obj in workload(this, pods)]
    strangers = tuple(obj for obj in observed if not _belongs(obj, service))
    mine = [obj for obj in observed if obj not in strangers]
    stay = staying(service.key, wanted, mine, pods)
    names = {(obj.KIND, obj.key) for obj in wanted}
    in_the_way = tuple(obj for obj in strangers if (obj.KIND, obj.key) in names)
    desired = (*wanted, *stay)
    return ServicePlan(
        objects=desired,
        changes=() if in_the_way else changes(desired, mine),
        stand_ins=this.stand_ins,
        strangers=in_the_way,
        leaving=_deployments(stay),
    )


def _deployments(objects: Iterable[Object]) -> frozenset[Key]:
    return frozenset(obj.key for obj in objects if isinstance(obj, Deployment))


def _belongs(obj: Object, service: LLMService) -> bool:
    """Whether an object is the service's: it says so itself, or a hand has taken away that it did."""
    owners = [reference.uid for reference in obj.metadata.owner_references if reference.controller]
    if owners:
        return owners == [service.metadata.uid]
    labels = obj.metadata.labels
    return (labels.get(MANAGED_BY), labels.get(SERVICE_LABEL)) == (OWNER, service.metadata.name)
