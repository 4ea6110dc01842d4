"""The operator at work: what changes in the mirror becomes keys in a queue, and each key one pass over a service.

Rules of this file:

- Level-triggered: at its start every service is due once; after that whatever a change concerns. A missed event costs
  nothing, since each pass begins from what is there.
- A pass sees at least what was known when its key was added: changes are taken in before keys are handed out.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, assert_never

from argosy.api.objects import Key
from argosy.apps.operator.metrics import OperatorMetrics
from argosy.apps.operator.mirror import KINDS, Chore, Mirror, Task
from argosy.apps.operator.picker_certificate import CHECK_S, keep_picker_certificate
from argosy.apps.operator.references import References
from argosy.apps.operator.services import OWNER, Services
from argosy.apps.operator.starts import Starts
from argosy.base.errors import PeerError
from argosy.decide.planning.capabilities import CLUSTER, Capabilities
from argosy.edge.kube.cache import Cache
from argosy.edge.kube.events import Events
from argosy.edge.kube.port import ObjectStore
from argosy.edge.kube.queue import WorkQueue

log = logging.getLogger(__name__)

WORKERS: Final = 4
SETTLE_S: Final = 0.02
"""Changes come in bursts, which are taken in together."""


class Operator:
    """One operator that leads. `now` gives the time as RFC 3339, `rng` spreads retries."""

    def __init__(
        self,
        store: ObjectStore,
        metrics: OperatorMetrics,
        *,
        capabilities: Capabilities = CLUSTER,
        now: Callable[[], str],
        rng: random.Random,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._capabilities = capabilities
        self._now = now
        self._rng = rng
        self.queue: WorkQueue[Task] = WorkQueue(rng=rng)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        events = Events(self._store, OWNER, now=self._now)
        starts = Starts(self.queue.add)
        async with Cache(self._store, KINDS, rng=self._rng) as cache:
            await cache.synced()
            mirror = Mirror(cache)
            services = Services(self._store, mirror, self._capabilities, starts=starts, events=events, now=self._now)
            references = References(self._store, cache, owner=OWNER)

            async def reconcile(task: Task) -> None:
                match task:
                    case Chore.PICKER_REFERENCES:
                        await references.reconcile()
                    case Chore.PICKER_CERTIFICATE:
                        await self._keep_certificate()
                    case Key():
                        await services.reconcile(task)
                    case _:
                        assert_never(task)

            async with asyncio.TaskGroup() as group:
                group.create_task(events.run(), name="tell events")
                group.create_task(starts.run(), name="ask for start times")
                group.create_task(self._feed(cache, mirror), name="feed the queue")
                group.create_task(self.queue.run(self._counted(reconcile), workers=WORKERS), name="reconcile")

    async def _keep_certificate(self) -> None:
        made = await keep_picker_certificate(self._store, now_s=time.time())
        if made:
            log.info("a certificate for the pickers is made: %s", made)
        self.queue.add_after(Chore.PICKER_CERTIFICATE, CHECK_S)

    async def _feed(self, cache: Cache, mirror: Mirror) -> None:
        seen = cache.version
        due = mirror.everything()
        while True:
            for task in sorted(due, key=str):
                self.queue.add(task)
            await cache.changed(seen)
            await asyncio.sleep(SETTLE_S)
            seen, changed = cache.changes(seen)
            due = mirror.everything() if changed is None else mirror.note(changed)

    def _counted(self, reconcile: Callable[[Task], Awaitable[None]]) -> Callable[[Task], Awaitable[None]]:
        async def counted(task: Task) -> None:
            try:
                with self._metrics.reconcile_seconds.time():
                    await reconcile(task)
            except PeerError:
                self._metrics.reconciled.labels("failed").inc()
                raise
            self._metrics.reconciled.labels("done").inc()

        return counted
