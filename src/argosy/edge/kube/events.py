"""Events: what people see at the end of `kubectl describe`.

Rules of this file:

- Telling never waits and never fails its caller. What the store refuses is dropped, with a line in the log; while it is
  away what is told waits.
- The same about the same object is one Event that is counted up, also by the process after this one; its count is
  written at once, and then every `REPEAT_S`.
- Bounded: so many Events wait, so many are remembered, so many are written a second; of one object `BURST` different
  ones, and one more every `REFILL_S`. What is beyond is dropped, and counted in the log.

Source: k8s.io/client-go, tools/record/events_cache.go, which bounds what it tells of one object likewise.
"""

import asyncio
import contextlib
import hashlib
import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from argosy.api.coordination import Event, EventSource, ObjectReference
from argosy.api.objects import Object, ObjectMeta
from argosy.base.errors import PeerError
from argosy.edge.kube.port import ObjectStore, StoreUnavailable

MAX_WAITING: Final = 1000
MAX_REMEMBERED: Final = 4096
PER_SECOND: Final = 20
REPEAT_S: Final = 60.0
BURST: Final = 25
REFILL_S: Final = 60.0
AWAY_S: Final = 5.0
"""How long a store that is away is left alone."""
_MAX_MESSAGE: Final = 1024
_MAX_NAME: Final = 253 - 17
"""Of the object, so that a dot and a digest of 16 digits have room in the Event's name."""
_log = logging.getLogger(__name__)


class _Told(msgspec.Struct):
    """One Event of this process: as it was last told, how often, and when it may be written next."""

    event: Event
    count: int
    due_s: float
    is_continued: bool = False


class _Allowance(msgspec.Struct):
    """How many different Events of one object may still be told."""

    left: float
    at_s: float

    def take(self, now_s: float) -> bool:
        self.left = min(BURST, self.left + (now_s - self.at_s) / REFILL_S)
        self.at_s = now_s
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Events:
    """Tells of what happens, as `component`. `now` gives the time as RFC 3339; `run` writes until cancelled."""

    def __init__(self, store: ObjectStore, component: str, *, now: Callable[[], str]) -> None:
        self._store = store
        self._component = component
        self._now = now
        self._told: OrderedDict[str, _Told] = OrderedDict()
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()
        self._waiting: dict[str, _Told] = {}
        self._filled = asyncio.Event()
        self._dropped = 0
        self._dropped_said_s = -math.inf

    def record(self, about: Object, kind: str, reason: str, message: str) -> None:
        """Tell of something; `kind` is Normal or Warning, `reason` one word, `message` a sentence."""
        now, now_s = self._now(), asyncio.get_running_loop().time()
        message = message if len(message) <= _MAX_MESSAGE else f"{message[: _MAX_MESSAGE - 1]}…"
        identity = about.metadata.uid or f"{about.KIND} {about.key}"
        digest = hashlib.sha256(f"{identity}\0{kind}\0{reason}\0{message}".encode()).hexdigest()[:16]
        told = self._told.get(digest)
        if told is None:
            if len(self._waiting) >= MAX_WAITING or not self._may_tell(identity, now_s):
                self._drop(now_s, about, message)
                return
            event = _event(about, kind, reason, message, name=f"{about.metadata.name[:_MAX_NAME]}.{digest}")
            event = msgspec.structs.replace(event, first_timestamp=now, source=EventSource(component=self._component))
            told = self._told[digest] = _Told(event, 0, now_s)
            if len(self._told) > MAX_REMEMBERED:
                self._told.popitem(last=False)
        self._told.move_to_end(digest)
        told.count += 1
        told.event = msgspec.structs.replace(told.event, last_timestamp=now)
        self._waiting[digest] = told
        self._filled.set()

    async def run(self) -> None:
        """Write what is told, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                self._filled.clear()
                await self._filled.wait()
            digest, told = min(self._waiting.items(), key=lambda item: item[1].due_s)
            if told.due_s > loop.time():
                self._filled.clear()
                with contextlib.suppress(TimeoutError):  # what is told meanwhile may be due before
                    async with asyncio.timeout_at(told.due_s):
                        await self._filled.wait()
                continue
            del self._waiting[digest]
            told.due_s = loop.time() + REPEAT_S
            try:
                await self._write(told)
            except StoreUnavailable:
                self._waiting[digest] = told
                told.due_s = loop.time()
                await asyncio.sleep(AWAY_S)
            except PeerError as error:
                _log.warning("not told (%s): %s", error, told.event.message)
            await asyncio.sleep(1 / PER_SECOND)

    async def _write(self, told: _Told) -> None:
        if not told.is_continued:
            before = await self._store.get(Event, told.event.key)
            if before is not None:
                told.count += before.count
                told.event = msgspec.structs.replace(told.event, first_timestamp=before.first_timestamp)
            told.is_continued = True
        await self._store.apply(msgspec.structs.replace(told.event, count=told.count), owner=self._component)

    def _drop(self, now_s: float, about: Object, message: str) -> None:
        """Say in the log that something is not told, at most every `REPEAT_S`: there may be thousands."""
        self._dropped += 1
        if now_s - self._dropped_said_s >= REPEAT_S:
            _log.warning(
                "there is too much to tell; %d times dropped, now of %s %s: %s",
                self._dropped,
                about.KIND,
                about.key,
                message,
            )
            self._dropped_said_s = now_s

    def _may_tell(self, identity: str, now_s: float) -> bool:
        allowance = self._allowances.setdefault(identity, _Allowance(BURST, now_s))
        self._allowances.move_to_end(identity)
        if len(self._allowances) > MAX_REMEMBERED:
            self._allowances.popitem(last=False)
        return allowance.take(now_s)


def _event(about: Object, kind: str, reason: str, message: str, *, name: str) -> Event:
    return Event(
        metadata=ObjectMeta(name=name, namespace=about.metadata.namespace or "default"),
        involved_object=ObjectReference(
            api_version=about.API_VERSION,
            kind=about.KIND,
            name=about.metadata.name,
            namespace=about.metadata.namespace,
            uid=about.metadata.uid,
        ),
        reason=reason,
        message=message,
        type=kind,
    )
