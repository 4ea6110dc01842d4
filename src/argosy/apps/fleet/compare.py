"""Compares services as files have them with a fleet as it is: what applying them would change.

Rules of this file:

- On a cluster the server says, by a dry run, what becomes of a service; its objects are planned here, as the operator
  would. Where that is of another version than we are, only what the change itself changes is shown.
- What this user may not read or rehearse is said in a note, and the rest is compared.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from argosy import __version__
from argosy.api.files import Reading
from argosy.api.kubernetes import Deployment
from argosy.api.llmservice import LLMService, StoredService
from argosy.api.names import SERVICE_LABEL, SYSTEM_NAMESPACE
from argosy.api.objects import Key, Object, decode, encode
from argosy.api.policy import PodDisruptionBudget
from argosy.api.stored import service_of
from argosy.api.workers import workload_names
from argosy.apps.fleet.change import Rehearsed, refuse_taken_names, rehearse
from argosy.apps.fleet.fleet import Fleet
from argosy.decide.planning.capabilities import Capabilities, Weights
from argosy.decide.planning.changes import REMOVABLE
from argosy.decide.planning.components import OPERATOR_IMAGE
from argosy.decide.planning.differences import Case, Difference, document_difference, object_differences
from argosy.edge.kube.port import Withheld

OPERATOR = Key(SYSTEM_NAMESPACE, "argosy-operator")


class Compared(NamedTuple):
    """What would change, and what could not be told."""

    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


async def compare(
    fleet: Fleet,
    reading: Reading,
    *,
    capabilities: Capabilities,
    weights: Mapping[str, Weights],
    force: bool = False,
) -> Compared:
    """Say what applying would change at a place of these capabilities, where so much is known of weights.

    Raises as applying would, for what stands in its way.
    """
    await refuse_taken_names(fleet, reading.services)
    notes: list[str] = []
    if fleet.connection is None:
        rehearsed = [await _here(fleet, service) for service in reading.services]
    else:
        rehearsed = list(await rehearse(fleet, reading, force=force))
    operator = await _operator(fleet, notes)
    drift = _same_version(operator, notes)
    if operator is not None:
        capabilities = msgspec.structs.replace(capabilities, image_registry=_registry(operator))
    found: list[Difference] = []
    for each, service in zip(rehearsed, reading.services, strict=True):
        found += document_difference(LLMService.KIND, each.key, each.before, each.after)
        before = _typed(each.before)
        observed = await _observed(fleet, each.key, notes)
        case = Case(
            before=before,
            after=_typed(each.after) or service,
            observed=observed or (),
            held=before.status.held if before else (),
            drift=drift and observed is not None,
        )
        found += object_differences(case, capabilities=capabilities, weights=weights)
    return Compared(tuple(found), tuple(notes))


async def _here(fleet: Fleet, service: LLMService) -> Rehearsed:
    before = await fleet.store.get(LLMService, service.key)
    return Rehearsed(service.key, None if before is None else _plain(before), _plain(service))


def _plain(service: LLMService) -> Any:
    return msgspec.to_builtins(encode(service))


def _typed(plain: Any) -> LLMService | None:
    """Give a stored service, or None where there is none that can be planned."""
    if plain is None:
        return None
    found = service_of(decode(StoredService, plain))
    return None if isinstance(found, tuple) else found


async def _observed(fleet: Fleet, key: Key, notes: list[str]) -> tuple[Object, ...] | None:
    """Give the objects of a service's names; None where this user may not read them."""
    found: list[Object] = []
    try:
        for kind in REMOVABLE:
            names = workload_names(key.name) if kind in (Deployment, PodDisruptionBudget) else (key.name,)
            there = [await fleet.store.get(kind, Key(key.namespace, name)) for name in names]
            found += [obj for obj in there if obj is not None and _is_of(obj, key)]
    except Withheld as error:
        notes.append(f"{key}: what is there of its objects is unknown: {error}")
        return None
    return tuple(found)


def _is_of(obj: Object, service: Key) -> bool:
    """Whether an object is a service's: of the names of its workloads others may have one."""
    return obj.key == service or obj.metadata.labels.get(SERVICE_LABEL) == service.name


async def _operator(fleet: Fleet, notes: list[str]) -> str | None:
    """Give the operator's image; None where there is none, or this user may not see it."""
    if fleet.connection is None:
        return None
    try:
        operator = await fleet.store.get(Deployment, OPERATOR)
    except Withheld:
        return None
    if operator is None:
        notes.append("there is no operator, so nothing of this would happen yet: argosy install")
        return None
    return operator.spec.template.spec.containers[0].image


def _same_version(operator: str | None, notes: list[str]) -> bool:
    """Say whether the operator plans as we do; where that is not known it is taken to."""
    version = operator.rpartition(":")[2] if operator else __version__
    if version == __version__:
        return True
    notes.append(
        f"the operator is of version {version}, this is {__version__}: objects are shown as this one plans them"
    )
    return False


def _registry(operator: str) -> str:
    """Give what comes before the names of images, from the operator's own."""
    return operator.rpartition(":")[0].removesuffix(OPERATOR_IMAGE.rpartition(":")[0]).rstrip("/")
