"""The picker's process: watches the store, scrapes engines, serves ext_proc, metrics and probes.

Rules of this file:

- ext_proc is served only once the world is known, so that nothing is refused for lack of knowledge.
- An end is gentle: unready first, no new streams, decided requests go on without us.
"""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

from argosy.api.gateway import Gateway, GatewayClass, HTTPRoute
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod
from argosy.apps.picker.metrics import PickerMetrics
from argosy.apps.picker.observation import EngineObserver
from argosy.apps.picker.picker import Picker
from argosy.apps.picker.session import PickerSession
from argosy.apps.picker.world import world_of
from argosy.edge.http.probes import serve_probes
from argosy.edge.http.scrape import scrape_forever
from argosy.edge.kube.cache import Cache
from argosy.edge.kube.port import ObjectStore
from argosy.edge.rpc.ext_proc import Transport
from argosy.engines.llama_cpp import METRICS_PATH, REQUESTS_RUNNING, REQUESTS_WAITING

KINDS: Final = (GatewayClass, Gateway, HTTPRoute, InferencePool, Pod)
DRAIN_S: Final = 5.0
SETTLE_S: Final = 0.02
"""Changes come in bursts, which are taken in together."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the picker listens, `ip:port` each."""

    address: str
    metrics_address: str


async def serve_picker(
    settings: Settings, store: ObjectStore, transport: Transport, *, rng: random.Random, stopping: asyncio.Event
) -> None:
    """Serve until `stopping` is set. Raises `UserError` when an address cannot be used."""
    metrics = PickerMetrics()
    picker = Picker(metrics, rng=rng)
    is_ready = asyncio.Event()
    async with (
        serve_probes(settings.metrics_address, metrics=metrics.page, ready=is_ready.is_set),
        Cache(store, KINDS, rng=rng) as cache,
    ):
        if not await _before(stopping, cache.synced()):
            return
        seen = cache.version
        _learn(picker, cache)
        server = await transport(settings.address, lambda: PickerSession(picker), ready=is_ready.is_set)
        metrics.count_streams_with(lambda: server.streams)
        async with asyncio.TaskGroup() as group:
            observer = EngineObserver(picker, metrics)
            background = (
                group.create_task(_follow(picker, cache, seen)),
                group.create_task(scrape_forever(observer, METRICS_PATH, (REQUESTS_RUNNING, REQUESTS_WAITING))),
            )
            is_ready.set()
            await stopping.wait()
            is_ready.clear()
            await server.drain(DRAIN_S)
            for task in background:
                task.cancel()


async def _before(stopping: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work unless we are told to stop first; gives whether it was done."""
    working, told = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not working.done():
        working.cancel()
        return False
    working.result()
    return True


async def _follow(picker: Picker, cache: Cache, seen: int) -> None:
    while True:
        seen = await cache.changed(seen)
        await asyncio.sleep(SETTLE_S)
        seen = cache.version
        _learn(picker, cache)


def _learn(picker: Picker, cache: Cache) -> None:
    gateways, routes = cache.all(Gateway), cache.all(HTTPRoute)
    picker.learn(world_of(cache.all(GatewayClass), gateways, routes, cache.all(InferencePool), cache.all(Pod)))
