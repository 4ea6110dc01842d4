"""One pod of a node, from the moment it is bound to it until the API server has forgotten it.

Rules of this file:

- It runs at most once: what ends it (a deletion, the pod's vanishing, a shorter grace) may be said at any time, again
  and again.
- It starts when all that it names is there; until then its status says what is missing, and it looks again when
  something has changed.
- Its folder and its network go when its processes have ended; its logs stay until the API server has forgotten it.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from argosy.api.containers import TokenProjection
from argosy.api.kubernetes import ConfigMap, Pod, PodStatus, Secret, Service
from argosy.api.objects import K, Key
from argosy.edge.kube.cache import Cache
from argosy.edge.kube.connection import AnsweredWith, Connection
from argosy.edge.processes.pods import PodProcess, PodSetting
from harness.node.events import Events, Told, told
from harness.node.furnishing import Furnished, Lodging, furnish, refill, retold, unchanged
from harness.node.pod_network import PodNetwork, PodNetworks
from harness.node.reports import Reports
from harness.node.setting import NodeSetting
from harness.node.sources import Token, fetch_objects, fetch_token, newer
from harness.node.status import TERMINAL, api_status, differs
from harness.node.volumes import Missing, Sources, needs

LOOK_AGAIN_S = 5.0


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What all pods of a node share. `now` gives the time as RFC 3339."""

    node: NodeSetting
    connection: Connection
    cache: Cache
    networks: PodNetworks
    events: Events
    now: Callable[[], str]

    def folder_of(self, pod: Pod) -> Path:
        """Give the folder of a pod, which lasts as long as its processes."""
        return Path(self.node.folder) / "pods" / str(pod.metadata.uid)

    def logs_of(self, pod: Pod) -> Path:
        """Give the folder of a pod's logs, which lasts as long as the pod."""
        return Path(self.node.folder) / "logs" / str(pod.metadata.uid)


class NodePod:
    """Runs one pod at `address`; `run` returns when the API server has been told that no process is left."""

    def __init__(self, pod: Pod, machine: Machine, address: str) -> None:
        self.pod = pod
        self.process: PodProcess | None = None
        self._machine = machine
        self._address = address
        self._reports = Reports(machine.connection, pod)
        self._ending = asyncio.Event()
        self._gone = False
        self._grace_s: float | None = None
        self._stops: set[asyncio.Task[None]] = set()
        self._needs = needs(pod)
        self._config_maps: dict[str, ConfigMap] = {}
        self._secrets: dict[str, Secret] = {}
        self._tokens: dict[TokenProjection, Token] = {}
        self._furnished: Furnished | None = None
        self._status = PodStatus()

    async def run(self) -> None:
        """Run the pod to its end."""
        reporting = asyncio.create_task(self._reports.run())
        try:
            if self.pod.status.phase not in TERMINAL:
                await self._live()
            await self._ending.wait()
            if not self._gone:
                reporting.cancel()
                self._want(self.process.status if self.process else self.pod.status, ended=True)
                await self._reports.send()
                await self._reports.finish()
        finally:
            reporting.cancel()

    def note(self, pod: Pod) -> None:
        """Take the pod as the API server has it now."""
        self.pod = pod
        if pod.metadata.deletion_timestamp is not None:
            self._end(pod.metadata.deletion_grace_period_seconds)
        written, version = self._reports.wanted, int(pod.metadata.resource_version or 0)
        if written is not None and version > self._reports.sent_version > 0 and differs(written, pod.status):
            self._reports.again()
        self.refresh()

    def vanish(self) -> None:
        """Take that the API server has no such pod any more."""
        if not self._gone:
            self._gone = True
            self._end(0)

    def refresh(self) -> None:
        """Bring the files of its volumes up to date with the node's cache."""
        furnished = self._furnished
        if furnished is None or not furnished.folders:
            return
        held = (self._config_maps, self._secrets)
        self._config_maps = newer(self._config_maps, self._seen(ConfigMap, self._needs.config_maps))
        self._secrets = newer(self._secrets, self._seen(Secret, self._needs.secrets))
        if held != (self._config_maps, self._secrets) or not unchanged(furnished, self.pod):
            self._refill()

    def _seen(self, kind: type[K], names: Iterable[str]) -> dict[str, K]:
        namespace, cache = self.pod.key.namespace, self._machine.cache
        found = {name: cache.get(kind, Key(namespace, name)) for name in names}
        return {name: each for name, each in found.items() if each is not None}

    def _end(self, grace_s: float | None) -> None:
        if self._ending.is_set() and grace_s == self._grace_s:
            return
        self._grace_s = grace_s
        self._ending.set()
        for container in self.pod.spec.containers if self.process else ():
            self._machine.events.tell(self.pod, Told("Normal", "Killing", f"Stopping container {container.name}"))
        if self.process is not None:
            stop = asyncio.create_task(self.process.stop(grace_s))
            self._stops.add(stop)
            stop.add_done_callback(self._stops.discard)

    async def _live(self) -> None:
        """Run its processes until they have ended for good."""
        network: PodNetwork | None = None
        folder = self._machine.folder_of(self.pod)
        folder.mkdir(parents=True)
        try:
            if not self.pod.spec.host_network:
                network = await self._machine.networks.make(self._address)
            logs = self._machine.logs_of(self.pod)
            logs.mkdir(parents=True, exist_ok=True)
            self._lodging = Lodging(folder, logs, self._address, network.path if network else "")
            setting = await self._prepare()
            if setting is not None:
                await self._run_processes(setting)
        finally:
            self._furnished = None
            if network is not None:
                network.close()
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _run_processes(self, setting: PodSetting) -> None:
        self.process = PodProcess(self.pod, setting, report=self._report, now=self._machine.now)
        renewing = asyncio.create_task(self._renew_tokens())
        try:
            await self.process.run()
        finally:
            renewing.cancel()

    async def _prepare(self) -> PodSetting | None:
        """Furnish the pod as soon as that is possible; None when it is to end before."""
        cache = self._machine.cache
        while not self._ending.is_set():
            seen = cache.version
            try:
                await self._gather()
                services = cache.all(Service)
                made = furnish(self.pod, self._machine.node, self._lodging, self._sources(), services)
            except (Missing, OSError) as missing:
                await self._report(PodStatus(message=str(missing)))
                await self._change(seen)
            else:
                self._furnished = made
                return None if self._ending.is_set() else made.setting
        return None

    async def _report(self, status: PodStatus) -> None:
        for event in told(self._status, status):
            self._machine.events.tell(self.pod, event)
        self._status = status
        self._want(status)

    def _want(self, status: PodStatus, *, ended: bool = False) -> None:
        before = (self._reports.wanted or {}).get("conditions", ())
        host, now = self._machine.node.address, self._machine.now()
        self._reports.want(api_status(self.pod, status, host=host, before=before, now=now, ended=ended))

    def _sources(self) -> Sources:
        tokens = {projection: token.text for projection, token in self._tokens.items()}
        return Sources(self._config_maps, self._secrets, tokens)

    async def _change(self, seen: int) -> None:
        """Wait until something has changed that may let it start, or it is to end."""
        tasks = [asyncio.ensure_future(each) for each in (self._machine.cache.changed(seen), self._ending.wait())]
        await asyncio.wait(tasks, timeout=LOOK_AGAIN_S, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def _gather(self) -> None:
        connection, namespace = self._machine.connection, self.pod.key.namespace
        self._config_maps, self._secrets = await fetch_objects(connection, namespace, self._needs)
        for token in self._needs.tokens:
            try:
                self._tokens[token] = await fetch_token(connection, self.pod, token)
            except AnsweredWith as answer:
                raise Missing(f"no token for ServiceAccount {self.pod.spec.service_account_name}: {answer}") from answer

    async def _renew_tokens(self) -> None:
        """Replace tokens before they end."""
        loop = asyncio.get_running_loop()
        while self._tokens:
            await asyncio.sleep(max(0.0, min(token.due for token in self._tokens.values()) - loop.time()))
            for projection, token in self._tokens.items():
                if token.due <= loop.time():
                    with contextlib.suppress(AnsweredWith):  # its account is gone: the pod ends soon
                        self._tokens[projection] = await fetch_token(self._machine.connection, self.pod, projection)
            self._refill()
            await asyncio.sleep(1.0)

    def _refill(self) -> None:
        furnished = self._furnished
        if furnished is not None:
            with contextlib.suppress(Missing):  # the old files stay, as the kubelet leaves them
                refill(furnished, self.pod, self._machine.node, self._lodging, self._sources())
            self._furnished = retold(furnished, self.pod)
