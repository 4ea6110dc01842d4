import asyncio
import random

import pytest
from msgspec.structs import replace

from argosy.api.coordination import Event
from argosy.api.gateway import HTTPRoute
from argosy.api.inference import InferenceModelRewrite, OlderInferenceModelRewrite
from argosy.api.kubernetes import Namespace
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.cache import Cache
from argosy.edge.kube.events import Events
from argosy.edge.kube.port import StoreUnavailable
from argosy.edge.kube.queue import WorkQueue
from contracts.store_contract import route
from harness.control_plane import ControlPlane
from harness.kinds import install_rewrites, remove_rewrites
from harness.services import rewrite
from harness.waiting import until


def names(cache: Cache) -> list[str]:
    return [obj.metadata.name for obj in cache.all(HTTPRoute)]


async def test_a_mirror_outlives_an_api_server_that_stops_and_starts(
    cluster: ControlPlane, store: KubernetesStore, namespace: str
) -> None:
    await store.apply(route(namespace, "before"), owner="test")
    async with Cache(store, (HTTPRoute,), rng=random.Random(1), namespace=namespace) as cache:
        await cache.synced()
        with cluster.api_server_down():
            with pytest.raises(StoreUnavailable):
                await store.list(HTTPRoute)
            assert names(cache) == ["before"]
        await store.apply(route(namespace, "after"), owner="test")
        await until(lambda: names(cache) == ["after", "before"])


async def test_a_mirror_learns_what_it_missed_when_the_history_is_forgotten(
    cluster: ControlPlane, store: KubernetesStore, namespace: str
) -> None:
    for name in ("kept", "lost"):
        await store.apply(route(namespace, name), owner="test")
    async with Cache(store, (HTTPRoute, Namespace), rng=random.Random(1)) as cache:
        await cache.synced()
        with cluster.api_server_down():
            cluster.lose(f"/registry/gateway.networking.k8s.io/httproutes/{namespace}/lost")
        cluster.forget_history()
        await until(lambda: "lost" not in [obj.metadata.name for obj in cache.all(HTTPRoute)])
        assert "kept" in names(cache)
        await store.apply(route(namespace, "later"), owner="test")
        await until(lambda: "later" in names(cache))


async def test_a_kind_that_is_installed_later_is_mirrored_from_then_on_and_until_it_is_removed(
    cluster: ControlPlane, store: KubernetesStore, namespace: str
) -> None:
    kinds = (InferenceModelRewrite, OlderInferenceModelRewrite)

    def serves(cache: Cache) -> tuple[bool, bool, bool]:
        return cache.serves(HTTPRoute), cache.serves(kinds[0]), cache.serves(kinds[1])

    given = rewrite("r", "a", (["m"], ["tuned"]))
    given = replace(given, metadata=replace(given.metadata, namespace=namespace))
    async with Cache(store, (HTTPRoute,), optional=kinds, rng=random.Random(1)) as cache:
        await asyncio.wait_for(cache.synced(), 30)
        assert serves(cache) == (True, False, False)
        try:
            install_rewrites(cluster, OlderInferenceModelRewrite)
            await until(lambda: serves(cache) == (True, False, True))
            install_rewrites(cluster, InferenceModelRewrite)
            await store.apply(given, owner="test")
            await until(lambda: [each.spec for each in cache.all(InferenceModelRewrite)] == [given.spec])
            assert serves(cache) == (True, True, True)
            assert cache.all(OlderInferenceModelRewrite) == ()
        finally:
            remove_rewrites(cluster, *kinds)
        await until(lambda: serves(cache) == (True, False, False), within_s=120)
        assert cache.all(InferenceModelRewrite) == ()


async def test_an_outage_loses_neither_work_nor_events(
    cluster: ControlPlane, store: KubernetesStore, namespace: str
) -> None:
    queue = WorkQueue[str](rng=random.Random(1))
    events = Events(store, "argosy-test", now=lambda: "2026-01-01T00:00:00Z")
    about = await store.apply(route(namespace, "about"), owner="test")
    tries: list[str] = []

    async def make(name: str) -> None:
        tries.append(name)
        await store.retake(route(namespace, name), owner="test")

    async with Cache(store, (HTTPRoute,), rng=random.Random(1), namespace=namespace) as cache:
        await cache.synced()
        works = [asyncio.create_task(queue.run(make, workers=2)), asyncio.create_task(events.run())]
        with cluster.api_server_down():
            queue.add("meanwhile")
            events.record(about, "Normal", "Tried", "It is tried.")
            await until(lambda: len(tries) > 3)
        # What waits for its back-off, or leaves a store alone that was away, does so for seconds.
        await until(lambda: names(cache) == ["about", "meanwhile"])
        await until(lambda: told(store, namespace))
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
    assert len(tries) < 20
    described = cluster.kubectl("describe", "httproute", "about", f"--namespace={namespace}")
    assert "It is tried." in described
    assert "argosy-test" in described


async def told(store: KubernetesStore, namespace: str) -> tuple[Event, ...]:
    return (await store.list(Event, namespace=namespace)).items
