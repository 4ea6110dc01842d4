import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from argosy.api.gateway import HTTPRoute
from argosy.api.inference import InferencePool, InferencePoolSpec, TargetPort
from argosy.api.kubernetes import LabelSelector
from argosy.api.objects import Key, ObjectMeta
from argosy.edge.kube.cache import Cache
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.remote import RemoteStore
from argosy.edge.kube.serve import serve_store
from contracts.store_contract import route, status, with_status
from harness.waiting import until


def memory_store(epoch: str = "e", history: int = 1024) -> InMemoryStore:
    count = iter(range(1_000_000))
    return InMemoryStore(now=lambda: "2026-01-01T00:00:00Z", new_uid=lambda: f"{epoch}{next(count)}", history=history)


def pool(name: str) -> InferencePool:
    spec = InferencePoolSpec(selector=LabelSelector(match_labels={"a": "b"}), target_ports=(TargetPort(number=8000),))
    return InferencePool(metadata=ObjectMeta(name=name, namespace="space"), spec=spec)


def names(cache: Cache) -> list[str]:
    return [obj.metadata.name for obj in cache.all(HTTPRoute)]


@pytest.fixture
async def store() -> InMemoryStore:
    return memory_store()


@pytest.fixture
async def cache(store: InMemoryStore) -> AsyncIterator[Cache]:
    async with Cache(store, (HTTPRoute, InferencePool), rng=random.Random(1)) as cache:
        await cache.synced()
        yield cache


async def test_a_synced_mirror_shows_what_is_there_in_order(store: InMemoryStore) -> None:
    for name in ("b", "a"):
        await store.apply(route("space", name), owner="test")
    async with Cache(store, (HTTPRoute,), rng=random.Random(1)) as cache:
        await cache.synced()
        assert names(cache) == ["a", "b"]


async def test_an_empty_store_counts_as_a_change_from_nothing_known(cache: Cache) -> None:
    assert await cache.changed(0) == cache.version
    assert cache.all(HTTPRoute) == ()


async def test_many_changes_wake_a_consumer_once_and_it_sees_the_last_state(store: InMemoryStore, cache: Cache) -> None:
    seen = await cache.changed(0)
    waiter = asyncio.create_task(cache.changed(seen))
    for weight in range(1, 50):
        await store.apply(route("space", weight=weight), owner="test")
    await store.apply(pool("p"), owner="test")
    await store.write_status(with_status(route("space"), "last"))
    async with asyncio.timeout(10):
        seen = await waiter
        while not (cache.all(HTTPRoute)[0].status == status("last") and cache.all(InferencePool)):
            seen = await cache.changed(seen)
    assert cache.all(HTTPRoute)[0].spec.rules[0].backend_refs[0].weight == 49
    await store.delete(HTTPRoute, Key("space", "a"))
    async with asyncio.timeout(10):
        await cache.changed(seen)
    assert names(cache) == []


async def test_a_mirror_that_fell_behind_lists_again(store: InMemoryStore, cache: Cache) -> None:
    await store.apply(route("space", "seen"), owner="test")
    await until(lambda: names(cache) == ["seen"])
    # Without a pause the mirror's task does not run, so all of this is forgotten before it looks.
    for name in ("x", "y"):
        await store.apply(route("space", name), owner="test")
    await store.delete(HTTPRoute, Key("space", "seen"))
    store.forget_history()
    await until(lambda: names(cache) == ["x", "y"])


async def test_only_one_namespace_is_mirrored_when_one_is_named(store: InMemoryStore) -> None:
    await store.apply(route("space"), owner="test")
    await store.apply(route("elsewhere"), owner="test")
    async with Cache(store, (HTTPRoute,), rng=random.Random(1), namespace="space") as cache:
        await cache.synced()
        await store.apply(route("elsewhere", "b"), owner="test")
        await store.apply(route("space", "b"), owner="test")
        await until(lambda: len(cache.all(HTTPRoute)) == 2)
        assert {obj.metadata.namespace for obj in cache.all(HTTPRoute)} == {"space"}


async def test_while_the_store_is_away_the_last_state_stands_and_a_new_store_is_mirrored(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    first, second = memory_store("first"), memory_store("second")
    await first.apply(route("space", "old"), owner="test")
    for name in ("new", "newer"):
        await second.apply(route("space", name), owner="test")
    async with RemoteStore(f"unix://{path}") as remote, Cache(remote, (HTTPRoute,), rng=random.Random(1)) as cache:
        async with serve_store(first, path):
            await cache.synced()
            assert names(cache) == ["old"]
        assert names(cache) == ["old"]
        async with serve_store(second, path):
            await until(lambda: names(cache) == ["new", "newer"])


async def test_a_mirror_resumes_at_the_same_store_without_a_change(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    store = memory_store()
    await store.apply(route("space"), owner="test")
    async with RemoteStore(f"unix://{path}") as remote, Cache(remote, (HTTPRoute,), rng=random.Random(1)) as cache:
        async with serve_store(store, path):
            seen = await cache.changed(0)
        await store.apply(route("space", "b"), owner="test")
        async with serve_store(store, path):
            await until(lambda: names(cache) == ["a", "b"])
            assert cache.version == seen + 1
