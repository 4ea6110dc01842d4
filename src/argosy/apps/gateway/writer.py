"""Writes what the gateway controller wants written: the objects of Gateways' Envoys, and statuses.

Rules of this file:

- Only the newest wish counts; one that is not met when the next comes is forgotten, since the next was made from what
  is there. So a store that is slow or away holds up nothing else.
- What the store refuses is not asked for again at once: it is reported, and tried anew after a while. So is what is
  left to somebody else who holds a field, such as the replicas that an autoscaler sets.
- Of several gateways one writes. Whether it is this one is asked before each wish is begun, and by the store before
  each write.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from argosy.api.objects import Key, Object
from argosy.decide.planning.changes import Change
from argosy.decide.planning.proxies import OWNER
from argosy.edge.kube.port import Held, NotFound, ObjectStore, OwnedByAnother, Rejected, StoreUnavailable

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0
"""After how long the store is tried again when it was away."""
REFUSED_RETRY_S: Final = 10.0
"""After how long a refused object is tried again: whoever held it, or the quota, may have given way."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What one round wants written."""

    changes: tuple[Change, ...] = ()
    statuses: tuple[Object, ...] = ()


class _Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why an object is not, or not wholly, as it is wanted; what is `held` by another is no trouble."""

    object: Object
    why: str
    held: bool
    again_at: float


class Writer:
    """Writes to a store while it `leads`; `wake` is called when it is time for another wish."""

    def __init__(self, store: ObjectStore, *, leads: Callable[[], bool], wake: Callable[[], None]) -> None:
        self._store = store
        self._leads = leads
        self._wake = wake
        self._wish = Wish()
        self._wished = asyncio.Event()
        self._refused: dict[tuple[str, Key], _Refusal] = {}

    @property
    def troubles(self) -> Mapping[Key, str]:
        """What the store refuses, in sentences, by the Gateway that it was for."""
        return {
            Key(key.namespace, owner.name): refusal.why
            for (_, key), refusal in sorted(self._refused.items(), reverse=True)
            if not refusal.held
            for owner in refusal.object.metadata.owner_references
        }

    def want(self, wish: Wish) -> None:
        """Make this what is to be written."""
        self._wish = wish
        self._wished.set()

    async def run(self) -> None:
        """Write until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wished.wait()
            self._wished.clear()
            if not self._leads():
                continue
            try:
                await self._write_objects(self._wish.changes)
                await self._write_statuses(self._wish.statuses)
            except StoreUnavailable as error:
                log.warning("what is to be written waits for the store: %s", error)
                loop.call_later(RETRY_S, self._wake)

    async def _write_objects(self, changes: Iterable[Change]) -> None:
        before = dict(self.troubles)
        wanted = {(change.object.KIND, change.object.key): change for change in changes}
        self._refused = {name: refusal for name, refusal in self._refused.items() if name in wanted}
        now = asyncio.get_running_loop().time()
        for name, change in wanted.items():
            refusal = self._refused.get(name)
            if refusal is None or refusal.object != change.object or refusal.again_at <= now:
                await self._write_object(name, change)
        if self.troubles != before:
            self._wake()

    async def _write_object(self, name: tuple[str, Key], change: Change) -> None:
        obj = change.object
        try:
            if change.delete:
                await self._store.delete(type(obj), obj.key, uid=obj.metadata.uid)
                held: tuple[Held, ...] = ()
            else:
                held = (await self._store.retake(obj, owner=OWNER)).held
        except (OwnedByAnother, Rejected, NotFound) as error:
            self._note_refusal(name, obj, f"{obj.KIND} {obj.key} cannot be written: {error}", held=False)
            return
        if held:
            whose = ", ".join(f"{each.field or 'all of it'} to {each.holder}" for each in held)
            self._note_refusal(name, obj, f"{obj.KIND} {obj.key} is left as it is in part: {whose}", held=True)
        else:
            self._refused.pop(name, None)

    def _note_refusal(self, name: tuple[str, Key], obj: Object, why: str, *, held: bool) -> None:
        loop = asyncio.get_running_loop()
        if name not in self._refused or self._refused[name].why != why:
            log.warning("%s", why)
        again_at = loop.time() + REFUSED_RETRY_S
        self._refused[name] = _Refusal(object=obj, why=why, held=held, again_at=again_at)
        loop.call_later(REFUSED_RETRY_S, self._wake)

    async def _write_statuses(self, statuses: Iterable[Object]) -> None:
        for obj in statuses:
            try:
                await self._store.write_status(obj)
            except NotFound:
                continue  # deleted meanwhile, which the mirror is about to learn
