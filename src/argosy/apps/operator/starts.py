"""Asks engines that have got ready where the time of their start went, once each.

Rules of this file:

- Of each service only the replica that was made last is asked, and not again once its answer is in the status.
- An engine that does not answer, or does not know, is not asked again: the pod's own times are what is known.
- At most `CONCURRENT` are asked at a time; nobody waits for an answer.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import aiohttp

from argosy.api.kubernetes import Pod
from argosy.api.llmservice import StartTimes
from argosy.api.names import ENGINE_PORT
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from argosy.base.errors import PeerError
from argosy.decide.planning.starts import newest_ready, start_times
from argosy.edge.http.exposition import family_sums
from argosy.edge.http.scrape import read_page
from argosy.engines.llama_cpp import METRICS_PATH, START_SECONDS

CONCURRENT: Final = 8


class Starts:
    """Start times by service. `learned` is called with the service when an answer has come."""

    def __init__(self, learned: Callable[[Key], None]) -> None:
        self._learned = learned
        self._known: dict[Key, tuple[str | None, StartTimes]] = {}
        self._asked: dict[Key, str | None] = {}
        self._wanted: asyncio.Queue[tuple[Key, Pod]] = asyncio.Queue()

    def of(self, service: Key, pods: Iterable[Pod], before: StartTimes | None) -> StartTimes | None:
        """Give what is known of the newest replica that is ready, or what was known of one before it."""
        pod = newest_ready(pods)
        if pod is None or (before is not None and before.pod == pod.metadata.name):
            return before
        known = self._known.get(service)
        if known is not None and known[0] == pod.metadata.uid:
            return known[1]
        if self._asked.get(service) != pod.metadata.uid:
            self._asked[service] = pod.metadata.uid
            self._wanted.put_nowait((service, pod))
        return before

    def forget(self, service: Key) -> None:
        """Forget a service that is gone."""
        self._known.pop(service, None)
        self._asked.pop(service, None)

    async def run(self) -> None:
        """Ask until cancelled."""
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            for _ in range(CONCURRENT):
                group.create_task(self._ask_on(session))

    async def _ask_on(self, session: aiohttp.ClientSession) -> None:
        while True:
            service, pod = await self._wanted.get()
            phases_s: dict[str, float] = {}
            try:
                page = await read_page(
                    session, f"http://{Endpoint(pod.status.pod_ip or '', ENGINE_PORT)}{METRICS_PATH}"
                )
            except PeerError:
                page = b""
            found = family_sums(page, START_SECONDS.values())
            phases_s = {phase: found[name] for phase, name in START_SECONDS.items() if name in found}
            if self._asked.get(service) == pod.metadata.uid:
                self._known[service] = (pod.metadata.uid, start_times(pod, phases_s))
                self._learned(service)
