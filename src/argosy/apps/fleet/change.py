"""Changes the services of a fleet: all of what files say, or nothing.

Rules of this file:

- Everything is rehearsed before anything is written: names that are taken, and on a cluster a dry run of every service.
- What is wrong is said all at once, with the service, the field and the fix.
- A laptop's store has one user; there, nobody's fields are in the way.
"""

import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from argosy.api.files import Reading
from argosy.api.llmservice import LLMService, StoredService
from argosy.api.objects import Key
from argosy.api.rules import clashes
from argosy.api.shape import dotted
from argosy.api.stored import service_of
from argosy.apps.fleet.fleet import Fleet
from argosy.base.errors import CallerError, NotNow, UserError
from argosy.edge.kube.port import Withheld

if TYPE_CHECKING:
    from argosy.edge.kube.connection import AnsweredWith

LAPTOP_USER = "user"
"""The owner of what is wanted on a laptop, whichever verb says so."""
FORCE = "--force-conflicts"


class Applied(NamedTuple):
    """A service that was written: created, changed or unchanged; `generation` is that of its spec now."""

    key: Key
    verb: str
    generation: int | None


class Rehearsed(NamedTuple):
    """A service before, None when it is not there, and as it would be after, both as plain values."""

    key: Key
    before: Any
    after: Any


async def apply_services(fleet: Fleet, reading: Reading, *, force: bool = False) -> tuple[Applied, ...]:
    """Make the services so, all or none. Raises UserError, or NotNow, that lists what stands in the way."""
    await refuse_taken_names(fleet, reading.services)
    if fleet.connection is None:
        return tuple([await _apply_here(fleet, service) for service in reading.services])
    from argosy.edge.kube.by_hand import apply_service  # noqa: PLC0415 (laptops do without)
    from argosy.edge.kube.connection import AnsweredWith  # noqa: PLC0415

    await rehearse(fleet, reading, force=force)
    done: list[Applied] = []
    for key, written in reading.written.items():
        try:
            result = await apply_service(fleet.connection, written, force=force)
        except AnsweredWith as answer:
            before = f" (written before it: {', '.join(str(each.key) for each in done)})" if done else ""
            raise NotNow(f"{_words(key, answer)}{before}; it changed since it was rehearsed: apply again") from answer
        done.append(Applied(key, result.verb, result.after["metadata"].get("generation")))
    return tuple(done)


async def rehearse(fleet: Fleet, reading: Reading, *, force: bool = False) -> tuple[Rehearsed, ...]:
    """Ask a cluster what it would make of the services. Raises UserError, or NotNow, that lists what it refuses."""
    from argosy.edge.kube.by_hand import apply_service  # noqa: PLC0415 (laptops do without)
    from argosy.edge.kube.connection import AnsweredWith  # noqa: PLC0415

    if fleet.connection is None:
        raise CallerError("a laptop's store does not rehearse")
    found: list[Rehearsed] = []
    problems: list[str] = []
    invalid = False
    for key, written in reading.written.items():
        try:
            before, after = await apply_service(fleet.connection, written, rehearse=True, force=force)
            found.append(Rehearsed(key, before, after))
        except AnsweredWith as answer:
            problems.append(_words(key, answer))
            invalid = invalid or answer.status.code in (400, 422)
    _raise_if_any(problems, invalid=invalid)
    return tuple(found)


async def refuse_taken_names(fleet: Fleet, services: Sequence[LLMService]) -> None:
    """Raise NotNow when a service asks for a model name that an older one has, as far as this user may see them."""
    stored: tuple[StoredService, ...] = ()
    for namespace in (None, fleet.namespace):
        with contextlib.suppress(Withheld):
            stored = (await fleet.store.list(StoredService, namespace=namespace)).items
            break
    since = {service.key: service.metadata.creation_timestamp or "" for service in stored}
    mine = {service.key: service for service in services}
    others = [service for each in stored if each.key not in mine and not isinstance(service := service_of(each), tuple)]
    # A service that is not there yet is younger than all that are.
    by_age = sorted([*others, *services], key=lambda service: (since.get(service.key, "~"), service.key))
    problems = [
        f"{by_age[index].key}: {dotted(fault.path)} {fault.reason}; {fault.fix}"
        for index, fault in clashes(by_age)
        if by_age[index].key in mine
    ]
    _raise_if_any(problems, invalid=False)


async def delete_service(fleet: Fleet, key: Key) -> bool:
    """Remove a service; say whether it was there. Raises NotNow where this user may not."""
    from argosy.edge.kube.port import Rejected  # noqa: PLC0415

    if await fleet.store.get(StoredService, key) is None:
        return False
    try:
        await fleet.store.delete(StoredService, key)
    except Rejected as error:
        raise NotNow(f"{error}; ask for the right to delete llmservices in {key.namespace}") from error
    return True


async def _apply_here(fleet: Fleet, service: LLMService) -> Applied:
    before = await fleet.store.get(LLMService, service.key)
    after = await fleet.store.apply(service, owner=LAPTOP_USER)
    same = before is not None and before.metadata.resource_version == after.metadata.resource_version
    verb = "created" if before is None else "unchanged" if same else "changed"
    return Applied(service.key, verb, after.metadata.generation)


def _raise_if_any(problems: Sequence[str], *, invalid: bool) -> None:
    if problems:
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}, so nothing is changed"
        raise (UserError if invalid else NotNow)("\n  ".join((count, *problems)))


def _words(key: Key, answer: "AnsweredWith") -> str:
    """Say why a server refuses a service, and what to do."""
    from argosy.edge.kube.refusals import conflicts  # noqa: PLC0415 (laptops do without)

    held = conflicts(answer)
    if held:
        fields = _sentence(f"{each.field} belongs to {each.manager}" for each in held)
        return f"{key}: {fields}; take it out of the file, or take it over with {FORCE}"
    match answer.status.code:
        case 403:
            return f"{key}: {answer}; ask for the right to patch llmservices in {key.namespace}"
        case 404 if answer.status.details is not None and answer.status.details.name:
            return f"{key}: {answer}; make it first: kubectl create namespace {key.namespace}"
        case 404:
            return f"{key}: the cluster does not know LLMService; install Argosy there: argosy install"
        case _:
            return f"{key}: {answer}"


def _sentence(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
