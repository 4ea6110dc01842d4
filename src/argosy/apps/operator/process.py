"""The operator as a process: probes and metrics always, work while it leads.

Rules of this file:

- Of several processes one leads. Whoever loses the lead ends and is started anew, so that nothing of what it had begun
  goes on; the store refuses its writes from the moment at which another may lead.
"""

import asyncio
import random
import signal
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import msgspec
import uvloop

from argosy.api.names import SYSTEM_NAMESPACE
from argosy.api.objects import Key
from argosy.apps.operator.metrics import OperatorMetrics
from argosy.apps.operator.operator import Operator
from argosy.apps.operator.services import OWNER
from argosy.decide.planning.capabilities import CLUSTER, Capabilities
from argosy.edge.clock import rfc3339_micro_now, rfc3339_now
from argosy.edge.http.probes import serve_probes
from argosy.edge.kube.lease import Leadership
from argosy.edge.kube.port import ObjectStore

LEASE: Final = Key(SYSTEM_NAMESPACE, OWNER)

OpenStore = Callable[[Callable[[], bool]], AbstractAsyncContextManager[ObjectStore]]
"""Opens the object store; the argument says, at the moment of every write, whether it may be sent."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Who this process is, where its metrics and probes are served (`ip:port`), and what the cluster can do."""

    identity: str
    metrics_address: str
    capabilities: Capabilities = CLUSTER


def run_operator(open_store: OpenStore, settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, which give 0, or until the lead is lost, which gives 1."""
    return uvloop.run(_serve(open_store, settings))


async def _serve(open_store: OpenStore, settings: Settings) -> int:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    metrics = OperatorMetrics()
    async with (
        open_store(lambda: True) as leases,
        Leadership(leases, LEASE, settings.identity, now=rfc3339_micro_now) as leadership,
        open_store(lambda: leadership.leading) as store,
        serve_probes(settings.metrics_address, metrics=metrics.page, ready=lambda: True),
    ):
        operator = Operator(
            store,
            metrics,
            capabilities=settings.capabilities,
            now=rfc3339_now,
            rng=random.Random(),  # noqa: S311 (spreads retries)
        )
        metrics.show(leading=lambda: leadership.leading, waiting=lambda: len(operator.queue))
        if await _first(stopping.wait(), leadership.won()) == 0:
            return 0
        return await _first(stopping.wait(), leadership.lost.wait(), operator.run())


async def _first(*works: Coroutine[Any, Any, object]) -> int:
    """Do works until the first of them ends, and end the others; gives its index. Raises what it raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ended = next(index for index, task in enumerate(tasks) if task.done())
        tasks[ended].result()
        return ended
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
