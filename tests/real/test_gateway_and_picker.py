"""Gateway and picker at a real API server: pods that somebody else made are served, and statuses are written."""

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from argosy.api.containers import Container
from argosy.api.gateway import Gateway, GatewayClass, GatewaySpec, HTTPRoute, HTTPRouteSpec, Listener, ParentReference
from argosy.api.inference import InferenceModelRewrite, OlderInferenceModelRewrite
from argosy.api.kubernetes import Pod, PodSpec, PodStatus, Service, ServicePort, ServiceSpec
from argosy.api.names import PICKER_PORT, SYSTEM_NAMESPACE
from argosy.api.objects import Condition, K, Key, ObjectMeta
from argosy.base.endpoint import Endpoint
from argosy.edge.kube.api_server import KubernetesStore
from harness.control_plane import ControlPlane
from harness.dataplane import Backend, Envoy
from harness.kinds import install_rewrites, remove_rewrites
from harness.services import gateway_class, pool, rewrite, route
from harness.waiting import until

CLASS, OWNER, PORT = "real", "test", 8080
XDS, PICKER, STATS = Endpoint("10.245.9.1", 18000), Endpoint("10.245.9.2", PICKER_PORT), Endpoint("10.245.9.3", 9090)
ENGINES = (Endpoint("10.245.9.11", 8000), Endpoint("10.245.9.12", 8000))
SYSTEM = f'{{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "{SYSTEM_NAMESPACE}"}}}}'
BODY = {"model": "m", "messages": []}


class Objects:
    """Writes objects of a namespace as their users would."""

    def __init__(self, store: KubernetesStore, namespace: str) -> None:
        self._store = store
        self.namespace = namespace

    async def apply(self, obj: K) -> K:
        metadata = replace(obj.metadata, namespace=self.namespace if obj.NAMESPACED else None)
        return await self._store.apply(replace(obj, metadata=metadata), owner=OWNER)

    async def add_pod(self, name: str, labels: dict[str, str], address: str) -> None:
        """Make a pod that runs, as a kubelet would say."""
        spec = PodSpec(containers=(Container(name="c", image="somebody/elses"),))
        pod = await self.apply(Pod(metadata=ObjectMeta(name=name, labels=labels), spec=spec))
        conditions = (condition("Ready", "True"), condition("ContainersReady", "True"))
        status = PodStatus(phase="Running", pod_ip=address, conditions=conditions)
        await self._store.write_status(replace(pod, status=status))

    async def call_silent(self, name: str) -> None:
        """Say of a pod what the node lifecycle controller says when its node has not been heard of."""
        pod = await self.status_of(Pod, name)
        conditions = (condition("Ready", "False"), condition("ContainersReady", "True"))
        await self._store.write_status(replace(pod, status=replace(pod.status, conditions=conditions)))

    async def status_of(self, kind: type[K], name: str) -> K:
        items = (await self._store.list(kind, namespace=self.namespace)).items
        return next(obj for obj in items if obj.key == Key(self.namespace, name))


def condition(kind: str, status: str) -> Condition:
    return Condition(type=kind, status=status, reason="Test", last_transition_time="2026-01-01T00:00:00Z")


@pytest.fixture
async def objects(store: KubernetesStore, cluster: ControlPlane, namespace: str) -> Objects:
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "-n", namespace, "--timeout=30s")
    return Objects(store, namespace)


@contextlib.asynccontextmanager
async def argosy(log: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a verb in the cluster's network until the block ends."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "argosy", *arguments), stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        assert await process.wait() == 0, f"see {log}"


@pytest.fixture
async def serving(objects: Objects, cluster: ControlPlane, tmp_path: Path) -> AsyncIterator[str]:
    """A gateway controller, a picker and an Envoy of the namespace's Gateway; gives the URL."""
    name = objects.namespace
    cluster.kubectl("apply", "-f", "-", stdin=SYSTEM)
    await objects.apply(replace(gateway_class(CLASS), metadata=ObjectMeta(name=CLASS)))
    listener = Listener(name="http", port=PORT, protocol="HTTP")
    spec = GatewaySpec(gateway_class_name=CLASS, listeners=(listener,))
    await objects.apply(Gateway(metadata=ObjectMeta(name="edge"), spec=spec))
    ports = (ServicePort(port=PICKER_PORT, name="ext-proc"),)
    selector = {"app": "picker"}
    await objects.apply(Service(metadata=ObjectMeta(name="p"), spec=ServiceSpec(selector=selector, ports=ports)))
    await objects.add_pod("picker", selector, PICKER.address)
    store = f"kubeconfig://{cluster.kubeconfig}"
    envoy = Envoy(
        "e", xds=XDS, admin=Endpoint("127.0.0.1", 9901), stats=STATS, log=tmp_path / "envoy", gateway=f"{name}/edge"
    )
    gateway = ("gateway", "--store", store, "--xds-address", str(XDS), "--picker", f"{name}/p")
    picker = ("picker", "--store", store, "--address", str(PICKER), "--metrics-address", f"{PICKER.address}:9090")
    async with argosy(tmp_path / "gateway", *gateway), argosy(tmp_path / "picker", *picker):
        await envoy.start()
        try:
            await until(envoy.is_ready)
            yield f"http://{STATS.address}:{PORT}"
        finally:
            await envoy.stop()


@pytest.fixture
async def theirs(objects: Objects) -> AsyncIterator[list[Backend]]:
    """Somebody's pods."""
    backends = []
    async with contextlib.AsyncExitStack() as stack:
        for index, endpoint in enumerate(ENGINES):
            backend = Backend(f"b{index}", endpoint)
            await backend.start()
            stack.push_async_callback(backend.stop)
            await objects.add_pod(backend.name, {"app": "theirs"}, endpoint.address)
            backends.append(backend)
        yield backends


@pytest.mark.usefixtures("theirs")
async def test_pods_that_somebody_else_made_are_served_and_statuses_say_so(
    objects: Objects, serving: str, store: KubernetesStore
) -> None:
    await adopt(objects)
    await until(lambda: answers(serving))
    async with aiohttp.ClientSession() as client:
        served = Counter([await served_by(client, serving) for _ in range(10)])
        assert set(served) == {str(endpoint) for endpoint in ENGINES}
        async with client.post(f"{serving}/v1/chat/completions", json={"model": "nobody"}) as refused:
            assert refused.status == 404
    accepted = (await objects.status_of(HTTPRoute, "theirs")).status.parents[0].conditions
    assert {condition.type: condition.status for condition in accepted} == {"Accepted": "True", "ResolvedRefs": "True"}
    await until(lambda: is_programmed(objects))
    classes = {each.metadata.name: each for each in (await store.list(GatewayClass)).items}
    assert any(c.type == "Accepted" and c.status == "True" for c in classes[CLASS].status.conditions)


@pytest.mark.usefixtures("theirs")
async def test_pods_work_on_when_all_nodes_are_called_silent(objects: Objects, serving: str) -> None:
    await adopt(objects)
    await until(lambda: answers(serving))
    for name in ("picker", "b0"):
        await objects.call_silent(name)

    async def only_the_other() -> bool:
        async with aiohttp.ClientSession() as client:
            return {await served_by(client, serving) for _ in range(4)} == {str(ENGINES[1])}

    await until(only_the_other)
    await objects.call_silent("b1")

    async def both_again() -> bool:
        async with aiohttp.ClientSession() as client:
            return len({await served_by(client, serving) for _ in range(4)}) == len(ENGINES)

    await until(both_again)


async def test_models_are_rewritten_by_the_newer_group_of_those_that_the_cluster_serves(
    objects: Objects, serving: str, theirs: list[Backend], cluster: ControlPlane
) -> None:
    await adopt(objects)
    await until(lambda: answers(serving))

    async def asks_for(model: str) -> bool:
        for backend in theirs:
            backend.requests.clear()
        assert await answers(serving)
        return [json.loads(body)["model"] for each in theirs for _, body in each.requests if body] == [model]

    newer = rewrite("r", "theirs", (["m"], ["new"]))
    older = rewrite("r", "theirs", (["m"], ["old"]))
    kinds = (InferenceModelRewrite, OlderInferenceModelRewrite)
    try:
        install_rewrites(cluster, OlderInferenceModelRewrite)
        await objects.apply(OlderInferenceModelRewrite(metadata=older.metadata, spec=older.spec))
        await until(lambda: asks_for("old"))
        install_rewrites(cluster, InferenceModelRewrite)
        await until(lambda: asks_for("m"))
        await objects.apply(newer)
        await until(lambda: asks_for("new"))
        remove_rewrites(cluster, InferenceModelRewrite)
        await until(lambda: asks_for("old"), within_s=120)
    finally:
        remove_rewrites(cluster, *kinds)


async def adopt(objects: Objects) -> None:
    """Make a pool of their pods, and a route to it."""
    of_theirs = pool("theirs")
    selector = replace(of_theirs.spec.selector, match_labels={"app": "theirs"})
    await objects.apply(replace(of_theirs, spec=replace(of_theirs.spec, selector=selector)))
    rule = route("theirs", "m").spec.rules
    spec = HTTPRouteSpec(parent_refs=(ParentReference(name="edge"),), rules=rule)
    await objects.apply(HTTPRoute(metadata=ObjectMeta(name="theirs"), spec=spec))


async def answers(url: str) -> bool:
    async with aiohttp.ClientSession() as client, client.post(f"{url}/v1/chat/completions", json=BODY) as got:
        return got.status == 200 and "x-served-by" in got.headers


async def served_by(client: aiohttp.ClientSession, url: str) -> str:
    async with client.post(f"{url}/v1/chat/completions", json=BODY) as answer:
        assert answer.status == 200, await answer.text()
        return answer.headers["x-served-by"]


async def is_programmed(objects: Objects) -> bool:
    conditions = (await objects.status_of(Gateway, "edge")).status.conditions
    return any(condition.type == "Programmed" and condition.status == "True" for condition in conditions)
