"""Which of several processes leads, by a Lease that they take by turns.

    leadership = Leadership(store, key, identity, now=now)
    async with KubernetesStore(settings, may_write=lambda: leadership.leading) as guarded, leadership:
        await leadership.won()
        …  # work with `guarded`, until `leadership.lost` is set
                                                          (`store` itself is not guarded: it writes the Lease)

Rules of this file:

- No clock of another machine is believed. A candidate waits until the Lease has not changed before its own eyes for as
  long as it lasts; the holder counts from before it sent its last renewal. Times in the Lease are for people.
- The holder stops leading `renew_deadline_s` after that, sooner than any other may take over: what it has sent by then
  has the rest of the duration to arrive. A process that was stopped finds so at its first look at the clock.
- Whoever takes or renews names the version it has read, so only one of two succeeds. A Lease is made empty, which any
  number may do: rights to one Lease by its name allow an apply, and no creation that fails when it is there.
- Leaving the context gives the Lease up, and another need not wait: whatever leads is to have ended by then.

Source: k8s.io/client-go, tools/leaderelection, whose Leases these are.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import msgspec

from argosy.api.coordination import Lease, LeaseSpec
from argosy.api.objects import Key, ObjectMeta
from argosy.base.errors import PeerError
from argosy.edge.kube.port import ObjectStore

MANAGER: Final = "argosy-lease"
MAKER: Final = "argosy-lease-maker"
NEVER: Final = -math.inf
_log = logging.getLogger(__name__)


class LeaseTimes(msgspec.Struct, frozen=True, kw_only=True):
    """How long a Lease lasts unrenewed, how long its holder relies on it, how often it is renewed or looked at."""

    duration_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0


TIMES: Final = LeaseTimes()


def since_boot() -> float:
    """Give the seconds since this machine was started, those for which it was suspended included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Leadership:
    """One candidate. No two processes may have the same `identity` at the same time.

    `now` gives the time as RFC 3339 with microseconds, `clock` seconds that never go back.
    """

    def __init__(
        self,
        store: ObjectStore,
        key: Key,
        identity: str,
        *,
        now: Callable[[], str],
        times: LeaseTimes = TIMES,
        clock: Callable[[], float] = since_boot,
    ) -> None:
        self._store = store
        self._key = key
        self._identity = identity
        self._now = now
        self._times = times
        self._clock = clock
        self._lease: Lease | None = None
        self._seen_at = NEVER
        """When the Lease was first read as it is."""
        self._is_stale = True
        """It may have been written since, by us too."""
        self._was_lost = False
        """It was deleted while another may have led, who need not know yet."""
        self._until = NEVER
        self._has_led = False
        self._said = ""
        self._won = asyncio.Event()
        self.lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def leading(self) -> bool:
        """Whether no other can lead now. Look again before each act."""
        return self._clock() < self._until

    @property
    def holder(self) -> str | None:
        """Who led when last looked, this process or another."""
        return (self._lease.spec.holder_identity or None) if self._lease else None

    async def won(self) -> None:
        """Wait until this process leads. `lost` is set when it no longer does."""
        while not self.leading:
            if self._task is not None and self._task.done():
                self._task.result()
            self._won.clear()
            await self._won.wait()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._stand(), name=f"lease {self._key}")
        self._task.add_done_callback(self._end)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        holds = self.leading
        self._until = NEVER  # before it is given up: another may have it before the answer is here
        if holds:
            # Otherwise it runs out by itself.
            with contextlib.suppress(PeerError, TimeoutError):
                async with asyncio.timeout(self._times.retry_s):
                    await self._give_up()
        if self._has_led:
            self._has_led = False
            _log.info("%s leads no more: it ends", self._identity)

    def _end(self, _task: asyncio.Task[None]) -> None:
        """Wake whoever waits for one turn or another."""
        self._won.set()
        self.lost.set()

    async def _stand(self) -> None:
        """Take the Lease whenever it is free, and renew it while it is held; until cancelled."""
        while True:
            trouble = ""
            try:
                async with asyncio.timeout(self._patience_s()):
                    await self._take_or_renew()
            except (PeerError, TimeoutError) as error:
                trouble = str(error) or "the store does not answer"
            self._note(trouble)
            await asyncio.sleep(self._pause_s())
            self._note(trouble)

    async def _take_or_renew(self) -> None:
        lease = await self._look() if self._lease is None or self._is_stale or not self.leading else self._lease
        if not self._is_ours(lease) and not self._is_free(lease):
            self._until = NEVER
            return
        sent_at = self._clock()
        await self._write(lease, self._identity, math.ceil(self._times.duration_s))
        self._seen_at = sent_at
        self._until = sent_at + self._times.renew_deadline_s

    async def _give_up(self) -> None:
        lease = await self._look()
        if self._is_ours(lease):
            await self._write(lease, "", 1)

    async def _look(self) -> Lease:
        lease = await self._store.get(Lease, self._key)
        if lease is None:
            metadata = ObjectMeta(namespace=self._key.namespace, name=self._key.name)
            lease = await self._store.apply(Lease(metadata=metadata, spec=LeaseSpec()), owner=MAKER)
        if self._lease is None or lease.spec != self._lease.spec:
            self._seen_at = self._clock()
        self._was_lost |= self._lease is not None and lease.metadata.uid != self._lease.metadata.uid
        self._lease = lease
        return lease

    async def _write(self, lease: Lease, holder: str, duration_s: int) -> None:
        """Write the Lease at the version that was read. Raises `Changed`."""
        before, read = lease.spec, lease.metadata
        metadata = ObjectMeta(
            namespace=read.namespace, name=read.name, uid=read.uid, resource_version=read.resource_version
        )
        now = self._now()
        is_new = before.holder_identity != holder
        transitions = -1 if before.lease_transitions is None else before.lease_transitions
        spec = LeaseSpec(
            holder_identity=holder,
            lease_duration_seconds=duration_s,
            acquire_time=now if is_new else before.acquire_time,
            renew_time=now,
            lease_transitions=transitions + (is_new and bool(holder)),
        )
        self._is_stale = True
        self._lease = await self._store.replace(Lease(metadata=metadata, spec=spec), owner=MANAGER)
        self._is_stale = False
        self._was_lost = False

    def _is_ours(self, lease: Lease) -> bool:
        return lease.spec.holder_identity == self._identity

    def _is_free(self, lease: Lease) -> bool:
        lasts_s = lease.spec.lease_duration_seconds or self._times.duration_s
        is_given_up = not lease.spec.holder_identity and (self.leading or not self._was_lost)
        return is_given_up or self._clock() - self._seen_at >= lasts_s

    def _patience_s(self) -> float:
        """Give how long an answer is waited for: two fit before the deadline."""
        longest = self._times.renew_deadline_s / 2
        return min(longest, self._until - self._clock()) if self.leading else longest

    def _pause_s(self) -> float:
        return min(self._times.retry_s, self._until - self._clock()) if self.leading else self._times.retry_s

    def _note(self, trouble: str) -> None:
        """Let the turn that things have taken be known."""
        if self.leading:
            self._won.set()
            self.lost.clear()
        if self.leading and not self._has_led:
            _log.info("%s leads: it holds Lease %s", self._identity, self._key)
        elif self._has_led and not self.leading:
            self.lost.set()
            _log.warning("%s leads no more: %s", self._identity, trouble or f"{self.holder} holds the Lease")
        elif trouble not in ("", self._said):
            _log.warning("Lease %s cannot be read or written: %s", self._key, trouble)
        self._has_led = self.leading
        self._said = trouble
