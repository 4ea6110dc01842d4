"""The gateway controller as a process of its own: event loop, signals, the real store, and whose turn it is to write.

Rules of this file:

- Every gateway configures Envoys at any time. Of several one writes, which holds the Lease; one that has lost it goes
  on configuring, and its store refuses its writes from the moment at which another may lead.
"""

import asyncio
import logging
import random
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import uvloop

from argosy.api.names import SYSTEM_NAMESPACE
from argosy.api.objects import Key
from argosy.apps.gateway.gateway import GatewayApp, Settings
from argosy.base.endpoint import Endpoint
from argosy.decide.planning.proxies import OWNER
from argosy.edge.clock import rfc3339_micro_now, rfc3339_now
from argosy.edge.kube.lease import Leadership
from argosy.edge.kube.port import ObjectStore

log = logging.getLogger(__name__)

LEASE: Final = Key(SYSTEM_NAMESPACE, OWNER)
OpenStore = Callable[[Callable[[], bool]], AbstractAsyncContextManager[ObjectStore]]
"""Opens the object store; the argument says, at the moment of every write, whether it may be sent."""


def run_gateway(open_store: OpenStore, settings: Settings, xds: Endpoint, *, identity: str | None) -> None:
    """Serve until SIGTERM or SIGINT. Raises `UserError` for an address or an authority that cannot be used.

    `identity` is this one's name among several; None for the only one there is.
    """
    uvloop.run(_until_told(open_store, settings, xds, identity))


async def _until_told(open_store: OpenStore, settings: Settings, xds: Endpoint, identity: str | None) -> None:
    if identity is None:
        serving = asyncio.create_task(_serve_alone(open_store, settings, xds))
    else:
        serving = asyncio.create_task(_serve_by_turns(open_store, settings, xds, identity))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    await asyncio.wait([serving])
    if not serving.cancelled():
        serving.result()


async def _serve_alone(open_store: OpenStore, settings: Settings, xds: Endpoint) -> None:
    async with open_store(lambda: True) as store:
        app = GatewayApp(store, settings, xds, now=rfc3339_now)
        log.info("serving xDS at %s", await app.start())
        await app.run(_rng())


async def _serve_by_turns(open_store: OpenStore, settings: Settings, xds: Endpoint, identity: str) -> None:
    async with (
        open_store(lambda: True) as leases,
        Leadership(leases, LEASE, identity, now=rfc3339_micro_now) as leadership,
        open_store(lambda: leadership.leading) as store,
    ):
        app = GatewayApp(store, settings, xds, now=rfc3339_now, leads=lambda: leadership.leading)
        log.info("serving xDS at %s", await app.start())
        async with asyncio.TaskGroup() as group:
            group.create_task(_note_turns(leadership, app), name="note whose turn it is")
            await app.run(_rng())


def _rng() -> random.Random:
    return random.Random()  # noqa: S311 (spreads retries, guards nothing)


async def _note_turns(leadership: Leadership, app: GatewayApp) -> None:
    while True:
        await leadership.won()
        app.look()
        await leadership.lost.wait()
        app.look()
