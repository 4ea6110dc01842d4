"""One service at a time: what is stored of it and what is there → changes made, status written, people told.

Rules of this file:

- Each pass begins from the mirror and forgets what it knew; what it remembers only spares questions.
- Somebody else's object is never touched: while one has a name that is needed, nothing of the service changes.
- What a hand changed is restored; what another applier or a scaler has set is left, and named in the status.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Final, TypeGuard

import msgspec

from argosy.api.kubernetes import Deployment
from argosy.api.llmservice import HeldField, LLMService, LLMServiceStatus, StoredService
from argosy.api.objects import Condition, Key, Object
from argosy.api.shape import Fault, dotted
from argosy.apps.operator.mirror import Mirror, names_of, read_service
from argosy.apps.operator.starts import Starts
from argosy.base.errors import Refused
from argosy.decide.planning.capabilities import Capabilities
from argosy.decide.planning.changes import MARK, Change
from argosy.decide.planning.plan import ServicePlan, service_plan
from argosy.decide.planning.status import Situation, status_of
from argosy.edge.kube.events import Events
from argosy.edge.kube.port import NotFound, ObjectStore, Rejected

OWNER: Final = "argosy-operator"
MAX_FAULTS: Final = 3
"""Faults that a sentence names before it only counts."""

_Seen = tuple[str | None, str | None]


class Services:
    """Reconciles services. `now` gives the time as RFC 3339."""

    def __init__(
        self,
        store: ObjectStore,
        mirror: Mirror,
        capabilities: Capabilities,
        *,
        starts: Starts,
        events: Events,
        now: Callable[[], str],
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._capabilities = capabilities
        self._starts = starts
        self._events = events
        self._now = now
        self._held: dict[tuple[type[Object], Key], tuple[_Seen, tuple[HeldField, ...]]] = {}
        self._told: dict[Key, tuple[str | None, tuple[Condition, ...]]] = {}

    async def reconcile(self, key: Key) -> None:
        """Bring one service nearer to what is wanted. Raises `PeerError` for what is worth another try."""
        stored = self._mirror.stored(key)
        service = read_service(stored)
        if stored is None or service is None:
            self._forget(key)
            return
        if not isinstance(service, LLMService):
            await self._report(stored, Situation(problem=_invalid(service)))
            return
        planned = service_plan(service, self._mirror.owned(key), self._mirror.pods(key), self._capabilities)
        problem = self._problem(key, planned)
        held: tuple[HeldField, ...] = ()
        rejected: Rejected | None = None
        if problem is None:
            try:
                held = await self._carry_out(key, planned)
            except Rejected as error:
                rejected, problem = error, Refused(by="Rejected", why=f"The cluster refuses an object: {error}.")
        await self._report(
            stored, Situation(stand_ins=planned.stand_ins, held=held, problem=problem, leaving=planned.leaving)
        )
        if rejected is not None:
            raise rejected

    def _problem(self, key: Key, planned: ServicePlan) -> Refused | None:
        for name, holder in self._mirror.taken_names(key).items():
            why = (
                f'The model name "{name}" belongs to LLMService {holder}, which is older; give the model another name.'
            )
            return Refused(by="NameTaken", why=why)
        if planned.strangers:
            first = planned.strangers[0]
            why = (
                f"{first.KIND} {first.key} is there already and is not this service's; "
                "remove it, or give the service another name."
            )
            return Refused(by="ForeignObject", why=why)
        return None

    async def _carry_out(self, key: Key, planned: ServicePlan) -> tuple[HeldField, ...]:
        held: list[HeldField] = []
        for change in planned.changes:
            if change.delete:
                await self._store.delete(type(change.object), change.object.key, uid=change.object.metadata.uid)
            else:
                held += await self._retake(key, change)
        return tuple(held)

    async def _retake(self, key: Key, change: Change) -> tuple[HeldField, ...]:
        """Write an object, unless it is as it was when the difference turned out to be somebody else's."""
        obj = change.object
        name = (type(obj), obj.key)
        owned = self._mirror.owned(key)
        there = next((each for each in owned if (type(each), each.key) == name), None)
        seen = (obj.metadata.annotations.get(MARK), there.metadata.resource_version if there else None)
        known = self._held.get(name)
        if known is not None and known[0] == seen:
            return known[1]
        after, held = await self._store.retake(obj, owner=OWNER)
        fields = tuple(
            HeldField(object=f"{obj.KIND}/{obj.metadata.name}", field=each.field or "all of it", holder=each.holder)
            for each in held
        )
        self._held.pop(name, None)
        if fields:
            self._held[name] = ((seen[0], after.metadata.resource_version), fields)
        return fields

    async def _report(self, stored: StoredService, this: Situation) -> None:
        """Write the status, when it has changed, and tell of turns for better or worse."""
        key = stored.key
        pods = self._mirror.pods(key)
        deployments = tuple(each for each in self._mirror.owned(key) if _is_workload(each, stored))
        situation = msgspec.structs.replace(
            this,
            deployments=deployments,
            pods=pods,
            start=self._starts.of(key, pods, stored.status.start),
            url=self._mirror.url,
        )
        status = status_of(stored, situation, now=self._now())
        if status == stored.status:
            return
        with contextlib.suppress(NotFound):  # deleted meanwhile, which the mirror is about to learn
            await self._store.write_status(msgspec.structs.replace(stored, status=status))
            self._tell(stored, status)

    def _tell(self, stored: StoredService, status: LLMServiceStatus) -> None:
        """Tell of what has turned since the last time, of which the mirror may not have heard yet."""
        uid, last = self._told.get(stored.key, (None, ()))
        before = {one.type: one for one in (last if uid == stored.metadata.uid else stored.status.conditions)}
        self._told[stored.key] = (stored.metadata.uid, status.conditions)
        for condition in status.conditions:
            was = before.get(condition.type)
            if was is None or (was.status, was.reason) != (condition.status, condition.reason):
                kind = "Warning" if _is_worse(condition, was) else "Normal"
                self._events.record(stored, kind, condition.reason, f"{condition.type}: {condition.message}")

    def _forget(self, key: Key) -> None:
        self._starts.forget(key)
        self._told.pop(key, None)
        for name in [name for name in self._held if name[1] in names_of(name[0], key)]:
            del self._held[name]


def _is_workload(obj: Object, stored: StoredService) -> TypeGuard[Deployment]:
    """Whether it is the service's own Deployment, and not a stranger's of its name."""
    owners = {reference.uid for reference in obj.metadata.owner_references}
    return isinstance(obj, Deployment) and stored.metadata.uid in owners


def _is_worse(condition: Condition, was: Condition | None) -> bool:
    """Whether people should look: something fails, cannot be planned, or is no longer available."""
    match condition.type:
        case "Available":
            return condition.status == "False" and was is not None and was.status == "True"
        case "Planned":
            return condition.status == "False" and condition.reason != "Waiting"
        case _:
            return condition.reason == "Failing"


def _invalid(faults: Iterable[Fault]) -> Refused:
    sentences = [f"{dotted(fault.path)} {fault.reason}; {fault.fix}" for fault in faults]
    more = f" And {len(sentences) - MAX_FAULTS} more faults." if len(sentences) > MAX_FAULTS else ""
    return Refused(by="Invalid", why=f"{'. '.join(sentences[:MAX_FAULTS])}.{more}")
