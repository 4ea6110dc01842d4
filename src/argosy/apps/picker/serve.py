"""The picker's process: watches the store, scrapes engines, serves ext_proc, metrics and probes.

Rules of this file:

- ext_proc is served only once the world is known, so that nothing is refused for lack of knowledge.
- An end is gentle: unready first, no new streams, decided requests go on without us as far as they can.
"""

import asyncio
import contextlib
import functools
import random
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Final

import msgspec

from argosy.api.gateway import Gateway, GatewayClass, HTTPRoute
from argosy.api.inference import InferenceModelRewrite, InferencePool, OlderInferenceModelRewrite
from argosy.api.kinds import OPTIONAL_KINDS
from argosy.api.kubernetes import Pod
from argosy.api.objects import Object
from argosy.apps.picker.debug import documents
from argosy.apps.picker.decision_file import DecisionFile, writing_decisions
from argosy.apps.picker.metrics import PickerMetrics
from argosy.apps.picker.observation import EngineObserver
from argosy.apps.picker.picker import Picker
from argosy.apps.picker.scheduling import default_profile, follow, profile_file
from argosy.apps.picker.session import PickerSession
from argosy.apps.picker.witness import Witness, witnessed
from argosy.apps.picker.world import Routing, routing_of, world_with
from argosy.edge.http.prefill import prefill_client
from argosy.edge.http.probes import serve_probes
from argosy.edge.http.scrape import scrape_forever
from argosy.edge.kube.cache import Cache
from argosy.edge.kube.port import ObjectStore
from argosy.edge.rpc.ext_proc import Transport
from argosy.edge.telemetry.collector import Collector
from argosy.engines.llama_cpp import METRICS_PATH

KINDS: Final = (GatewayClass, Gateway, HTTPRoute, InferencePool, Pod)
DRAIN_S: Final = 25.0
"""How long undecided requests, and answers that pass through us in chunks, may still take; less than a pod's grace."""
SETTLE_S: Final = 0.02
"""Changes come in bursts, which are taken in together."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the picker listens, `ip:port` each, and how.

    `tls_folder` is the folder of its certificate; without one it serves plain text. `transport` is `http2` or `grpcio`.
    `decision_file` says where decisions are written, `collector` where spans of them are sent, if they are.
    `scheduling` is the file of the scheduling profile, which may be missing.
    """

    address: str
    metrics_address: str
    tls_folder: str | None = None
    transport: str = "http2"
    decision_file: DecisionFile | None = None
    collector: Collector | None = None
    scheduling: str = ""


async def serve_picker(
    settings: Settings, store: ObjectStore, transport: Transport, *, rng: random.Random, stopping: asyncio.Event
) -> None:
    """Serve until `stopping` is set. Raises `UserError` when an address or a file cannot be used."""
    metrics = PickerMetrics()
    profiles = profile_file(Path(settings.scheduling)) if settings.scheduling else None
    picker = Picker(metrics, default_profile() if profiles is None else profiles.content, rng=rng)
    is_ready = asyncio.Event()
    async with (
        serve_probes(
            settings.metrics_address, metrics=metrics.page, ready=is_ready.is_set, documents=documents(picker)
        ),
        Cache(store, KINDS, optional=OPTIONAL_KINDS, rng=rng) as cache,
        _witnesses(settings, metrics) as witnesses,
        prefill_client() as workers,
    ):
        if not await _before(stopping, cache.synced()):
            return
        seen = cache.version
        learner = _Learner(picker, cache)
        learner.learn()
        picker.run_legs(workers)
        decider = witnessed(picker, witnesses)
        server = await transport(settings.address, functools.partial(PickerSession, decider), ready=is_ready.is_set)
        metrics.count_streams_with(lambda: server.streams, lambda: server.held_bytes)
        async with asyncio.TaskGroup() as group:
            observer = EngineObserver(picker, metrics)
            background = [
                group.create_task(learner.follow(seen)),
                group.create_task(scrape_forever(observer, METRICS_PATH)),
            ]
            if profiles is not None:
                metrics.judge_scheduling_with(lambda: profiles.usable)
                background.append(group.create_task(follow(profiles, picker.use)))
            is_ready.set()
            await stopping.wait()
            is_ready.clear()
            await server.drain(DRAIN_S)
            for task in background:
                task.cancel()


@contextlib.asynccontextmanager
async def _witnesses(settings: Settings, metrics: PickerMetrics) -> AsyncIterator[tuple[Witness, ...]]:
    """Give those who are told of decisions; what they were told by then is where it belongs when the context ends."""
    async with contextlib.AsyncExitStack() as stack:
        found: list[Witness] = []
        if settings.decision_file is not None:
            found.append(await stack.enter_async_context(writing_decisions(settings.decision_file, metrics)))
        if settings.collector is not None:
            # Whoever makes no spans does not load what makes them.
            from argosy.apps.picker.tracing import tracing_decisions  # noqa: PLC0415

            found.append(await stack.enter_async_context(tracing_decisions(settings.collector, metrics)))
        yield tuple(found)


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


class _Learner:
    """Takes the cluster's state from the mirror into the picker; routes anew only when they, or pools, have changed."""

    def __init__(self, picker: Picker, cache: Cache) -> None:
        self._picker = picker
        self._cache = cache
        self._routing: Routing | None = None
        self._routed: tuple[tuple[Object, ...], ...] = ()

    def learn(self) -> None:
        """Decide by what the mirror holds now."""
        cache, pools = self._cache, self._cache.all(InferencePool)
        kind = InferenceModelRewrite if cache.serves(InferenceModelRewrite) else OlderInferenceModelRewrite
        routed = (cache.all(GatewayClass), cache.all(Gateway), cache.all(HTTPRoute), pools, cache.all(kind))
        # The mirror gives the very same tuple until one of its objects changes.
        if self._routing is None or any(a is not b for a, b in zip(routed, self._routed, strict=True)):
            self._routing, self._routed = routing_of(*routed), routed
        self._picker.learn(world_with(self._routing, pools, cache.all(Pod)))

    async def follow(self, seen: int) -> None:
        """Learn whenever the mirror has changed since it was `seen`."""
        while True:
            seen = await self._cache.changed(seen)
            await asyncio.sleep(SETTLE_S)
            seen = self._cache.version
            self.learn()
