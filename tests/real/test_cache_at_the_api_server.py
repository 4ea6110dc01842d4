import random

import pytest

from argosy.api.gateway import HTTPRoute
from argosy.api.kubernetes import Namespace
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.cache import Cache
from argosy.edge.kube.port import StoreUnavailable
from contracts.store_contract import route
from harness.control_plane import ControlPlane
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
