"""The gateway process: objects of the store in, configuration of Envoys and statuses out.

Level-triggered: whatever changed, everything is translated anew from what the mirror holds. Changes that come while
that is being done are taken together by the next round.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from argosy.api.gateway import Gateway, GatewayClass, HTTPRoute
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod, Service
from argosy.api.objects import Key, Object
from argosy.base.endpoint import Endpoint
from argosy.decide.translation.statuses import ProxyReport
from argosy.decide.translation.translate import Observed, Resources, Settings, changed_statuses, translate
from argosy.edge.kube.cache import Cache
from argosy.edge.kube.port import NotFound, ObjectStore, StoreUnavailable
from argosy.edge.rpc.xds import ProxyState, XdsServer
from argosy.edge.rpc.xds_encoding import ASSIGNMENTS, CLUSTERS, LISTENERS, ROUTES, Encoder

log = logging.getLogger(__name__)

KINDS: Final = (GatewayClass, Gateway, HTTPRoute, InferencePool, Pod, Service)
STATUS_RETRY_S: Final = 1.0
"""After how long a status that could not be written is tried again."""


class GatewayApp:
    """One gateway process. `now` gives the time as RFC 3339."""

    def __init__(self, store: ObjectStore, settings: Settings, xds: Endpoint, *, now: Callable[[], str]) -> None:
        self._store = store
        self._settings = settings
        self._now = now
        self._due = asyncio.Event()
        self._proxies: tuple[ProxyState, ...] = ()
        self._refused: Mapping[str, str] = {}
        self._encoder = Encoder()
        self._server = XdsServer(xds, self._note_proxies)

    async def start(self) -> Endpoint:
        """Serve ADS; gives its address. Raises `UserError` when the address is in use."""
        return await self._server.start()

    async def run(self, rng: random.Random) -> None:
        """Translate until cancelled. `rng` spreads retries."""
        try:
            async with Cache(self._store, KINDS, rng=rng) as cache, asyncio.TaskGroup() as group:
                group.create_task(self._note_changes(cache), name="note changes")
                await cache.synced()
                while True:
                    await self._due.wait()
                    self._due.clear()
                    await self._translate(cache)
        finally:
            await self._server.stop()

    async def _note_changes(self, cache: Cache) -> None:
        seen = 0
        while True:
            seen = await cache.changed(seen)
            self._due.set()

    def _note_proxies(self, proxies: tuple[ProxyState, ...]) -> None:
        for proxy in sorted(set(proxies) - set(self._proxies)):
            if proxy.refusal:
                log.warning("Envoy %s of Gateway %s refuses: %s", proxy.node, proxy.gateway, proxy.refusal)
        self._proxies = proxies
        self._due.set()

    async def _translate(self, cache: Cache) -> None:
        observed = Observed(
            classes=cache.all(GatewayClass),
            gateways=cache.all(Gateway),
            routes=cache.all(HTTPRoute),
            pools=cache.all(InferencePool),
            pods=cache.all(Pod),
            services=cache.all(Service),
        )
        reports: dict[Key, list[ProxyReport]] = {}
        for proxy in self._proxies:
            report = ProxyReport(node=proxy.node, accepted=proxy.accepted, refusal=proxy.refusal)
            reports.setdefault(Key.parse(proxy.gateway), []).append(report)
        for gateway, why in self._refused.items():
            reports.setdefault(Key.parse(gateway), []).insert(0, ProxyReport(node="", accepted=False, refusal=why))
        translation = translate(observed, self._settings, reports, self._now())
        snapshots, refused = self._encoder.encode(_values(translation.resources))
        self._server.publish(snapshots)
        if refused == self._refused:
            await self._write(changed_statuses(observed, translation))
        else:
            self._note_refused(refused)

    def _note_refused(self, refused: Mapping[str, str]) -> None:
        """Let the next round say in the statuses what could not be encoded, or that it can be by now."""
        for gateway, why in refused.items():
            log.error("Gateway %s stays as it is, its configuration cannot be encoded: %s", gateway, why)
        self._refused = refused
        self._due.set()

    async def _write(self, changed: Iterable[Object]) -> None:
        try:
            for obj in changed:
                try:
                    await self._store.write_status(obj)
                except NotFound:
                    continue  # deleted meanwhile, which the mirror is about to learn
        except StoreUnavailable as error:
            log.warning("statuses wait for the store: %s", error)
            asyncio.get_running_loop().call_later(STATUS_RETRY_S, self._due.set)


def _values(resources: dict[Key, Resources]) -> dict[str, dict[str, Iterable[dict[str, Any]]]]:
    return {
        str(gateway): {
            CLUSTERS: each.clusters,
            ASSIGNMENTS: each.assignments,
            LISTENERS: each.listeners,
            ROUTES: each.routes,
        }
        for gateway, each in resources.items()
    }
