"""The gateway process: objects of the store in; Envoys, their configuration and statuses out.

Level-triggered: whatever changed, everything is translated anew from what the mirror holds. Changes that come while
that is being done are taken together by the next round.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from argosy.api.gateway import Gateway, GatewayClass, HTTPRoute
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod, Service
from argosy.api.names import XDS_PORT
from argosy.api.objects import Key
from argosy.apps.gateway.writer import Wish, Writer
from argosy.base.endpoint import Endpoint
from argosy.decide.planning.proxies import KINDS as PROXY_KINDS
from argosy.decide.planning.proxies import ProxySettings, proxy_plan
from argosy.decide.translation.pickers import ready_endpoints
from argosy.decide.translation.statuses import ProxyReport
from argosy.decide.translation.translate import Observed, Resources, attach, changed_statuses, resources, statuses
from argosy.decide.translation.translate import Settings as TranslationSettings
from argosy.edge.kube.cache import Cache
from argosy.edge.kube.port import ObjectStore
from argosy.edge.rpc.peers import Peers, ProxyState
from argosy.edge.rpc.xds import XdsServer
from argosy.edge.rpc.xds_encoding import ASSIGNMENTS, CLUSTERS, LISTENERS, ROUTES, Encoder
from argosy.edge.tls.files import authority_file

log = logging.getLogger(__name__)

KINDS: Final = (GatewayClass, Gateway, HTTPRoute, InferencePool, Pod, *PROXY_KINDS)

SETTLE_S: Final = 0.01
"""Changes come in bursts, which are taken in together."""
AUTHORITY_CHECK_S: Final = 2.0
"""How often the file of the pickers' authorities is looked at."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How requests are served, and by which Envoys; the file of the pickers' authorities, if they speak TLS."""

    translation: TranslationSettings
    proxies: ProxySettings
    picker_authority: str | None = None


class GatewayApp:
    """One gateway process. `now` gives the time as RFC 3339, `leads` says whether this one writes.

    Raises `UserError` for a file that is no authority's.
    """

    def __init__(
        self,
        store: ObjectStore,
        settings: Settings,
        xds: Endpoint,
        *,
        now: Callable[[], str],
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._settings = settings
        self._xds = xds
        self._now = now
        self._leads = leads
        self._due = asyncio.Event()
        self._proxies: tuple[ProxyState, ...] = ()
        self._refused: Mapping[str, str] = {}
        self._encoder = Encoder()
        self._server = XdsServer(xds, self._note_proxies)
        self._writer = Writer(store, leads=leads, wake=self.look)
        self._peers = Peers(self.look)
        path = settings.picker_authority
        self._authority = None if path is None else authority_file(Path(path))

    async def start(self) -> Endpoint:
        """Serve ADS; gives its address. Raises `UserError` when the address is in use."""
        return await self._server.start()

    def look(self) -> None:
        """Have everything done once more: something that is no object has changed, such as who leads."""
        self._due.set()

    async def run(self, rng: random.Random) -> None:
        """Translate until cancelled. `rng` spreads retries."""
        try:
            async with Cache(self._store, KINDS, rng=rng) as cache, asyncio.TaskGroup() as group:
                group.create_task(self._note_changes(cache), name="note changes")
                group.create_task(self._note_authority(), name="note the pickers' authority")
                group.create_task(self._writer.run(), name="write")
                await cache.synced()
                while True:
                    await self._due.wait()
                    await asyncio.sleep(SETTLE_S)
                    self._due.clear()
                    begun = time.monotonic()
                    self._translate(cache)
                    # However much changes, half of the time is left for Envoys' streams.
                    await asyncio.sleep(time.monotonic() - begun)
        finally:
            await self._peers.stop()
            await self._server.stop()

    async def _note_changes(self, cache: Cache) -> None:
        seen = 0
        while True:
            seen = await cache.changed(seen)
            self._due.set()

    async def _note_authority(self) -> None:
        while self._authority is not None:
            await asyncio.sleep(AUTHORITY_CHECK_S)
            if self._authority.changed():
                self._due.set()

    def _note_proxies(self, proxies: tuple[ProxyState, ...]) -> None:
        for proxy in sorted(set(proxies) - set(self._proxies)):
            if proxy.refusal:
                log.warning("Envoy %s of Gateway %s refuses: %s", proxy.node, proxy.gateway, proxy.refusal)
        self._proxies = proxies
        self._due.set()

    def _translate(self, cache: Cache) -> None:
        observed = Observed(
            classes=cache.all(GatewayClass),
            gateways=cache.all(Gateway),
            routes=cache.all(HTTPRoute),
            pools=cache.all(InferencePool),
            pods=cache.all(Pod),
            services=cache.all(Service),
        )
        authority = self._authority.content if self._authority is not None else None
        settings = msgspec.structs.replace(self._settings.translation, picker_authority=authority)
        attached = attach(observed)
        snapshots, refused = self._encoder.encode(_values(resources(observed, settings, attached)))
        # Before anything is said of Envoys: from here on they are known not to have this yet.
        self._server.publish(snapshots)
        self._follow_others(observed)
        if refused != self._refused:
            self._note_refused(refused)
            return
        existing = [obj for kind in PROXY_KINDS for obj in cache.all(kind)]
        planned = proxy_plan(attached.gateways, existing, self._settings.proxies)
        reports = self._reports({**self._writer.troubles, **planned.obstacles})
        wanted = statuses(observed, settings, attached, reports, self._now())
        self._writer.want(Wish(changes=planned.changes, statuses=changed_statuses(observed, wanted)))

    def _reports(self, troubles: Mapping[Key, str]) -> Mapping[Key, Sequence[ProxyReport]]:
        """Give what is known of each Gateway's Envoys; `troubles` are why they cannot be made."""
        reports: dict[Key, list[ProxyReport]] = {}
        for gateway, why in troubles.items():
            reports.setdefault(gateway, []).append(ProxyReport(node="", accepted=False, refusal=why))
        for name, why in self._refused.items():
            sentence = f"no Envoy can be sent its configuration: {why}"
            reports.setdefault(Key.parse(name), []).append(ProxyReport(node="", accepted=False, refusal=sentence))
        for proxy in sorted({*self._proxies, *self._peers.states}):
            report = ProxyReport(node=proxy.node, accepted=proxy.accepted, refusal=proxy.refusal)
            reports.setdefault(Key.parse(proxy.gateway), []).append(report)
        return reports

    def _follow_others(self, observed: Observed) -> None:
        """Know of the Envoys that other gateways serve, as far as it is this one that says so in statuses."""
        controller = self._settings.proxies.controller
        service = next((each for each in observed.services if each.key == controller), None)
        others = set(ready_endpoints(service, observed.pods, port=XDS_PORT)) - {self._xds}
        self._peers.follow(others if self._leads() else ())

    def _note_refused(self, refused: Mapping[str, str]) -> None:
        """Let the next round say in the statuses what could not be encoded, or that it can be by now."""
        for gateway, why in refused.items():
            log.error("Gateway %s stays as it is, its configuration cannot be encoded: %s", gateway, why)
        self._refused = refused
        self._due.set()


def _values(by_gateway: dict[Key, Resources]) -> dict[str, dict[str, Iterable[dict[str, Any]]]]:
    return {
        str(gateway): {
            CLUSTERS: each.clusters,
            ASSIGNMENTS: each.assignments,
            LISTENERS: each.listeners,
            ROUTES: each.routes,
        }
        for gateway, each in by_gateway.items()
    }
