import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.api.gateway import HTTPRoute
from argosy.api.inference import InferencePool, InferencePoolSpec, TargetPort
from argosy.api.kubernetes import LabelSelector
from argosy.api.objects import Key, ObjectMeta
from argosy.edge.kube.cache import LONGEST_DELAY_S, Cache
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.port import NotServed, StoreUnavailable, Withheld
from argosy.edge.kube.remote import RemoteStore
from argosy.edge.kube.serve import serve_store
from contracts.store_contract import route, status, with_status
from harness.virtual_time import run_in_virtual_time
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


async def test_what_has_changed_since_a_version_is_told_by_key_until_it_is_forgotten(
    store: InMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("argosy.edge.kube.cache.REMEMBERED", 2)
    a, b = Key("space", "a"), Key("space", "b")
    await store.apply(route("space", "a"), owner="test")
    async with Cache(store, (HTTPRoute,), rng=random.Random(1)) as cache:
        seen = await cache.changed(0)
        assert cache.changes(0) == (seen, {(HTTPRoute, a)})
        assert cache.changes(seen) == (seen, frozenset())
        await store.apply(route("space", "b"), owner="test")
        later = await cache.changed(seen)
        assert cache.changes(seen) == (later, {(HTTPRoute, b)})
        assert cache.get(HTTPRoute, b) is not None
        await store.delete(HTTPRoute, a)
        await cache.changed(later)
        assert cache.changes(seen)[1] == {(HTTPRoute, a), (HTTPRoute, b)}
        assert cache.changes(0)[1] is None
        assert cache.get(HTTPRoute, a) is None


class Away:
    """A store that is away, and counts how often it is asked."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store
        self.is_away = False
        self.withheld: dict[Any, StoreUnavailable] = {}
        self.calls = 0

    async def list(self, kind: Any, *, namespace: str | None = None) -> Any:
        self._ask(kind)
        return await self._store.list(kind, namespace=namespace)

    async def watch(self, kind: Any, *, since: str, namespace: str | None = None) -> AsyncIterator[Any]:
        self._ask(kind)
        async with contextlib.aclosing(self._store.watch(kind, since=since, namespace=namespace)) as events:
            with contextlib.suppress(TimeoutError):  # a watch that ends after a second of quiet
                while not self.is_away and kind not in self.withheld:
                    async with asyncio.timeout(1):
                        event = await anext(events)
                    yield event

    def _ask(self, kind: Any) -> None:
        self.calls += 1
        if kind in self.withheld:
            raise self.withheld[kind]
        if self.is_away:
            raise StoreUnavailable("away")


def test_ten_minutes_without_the_store_cost_few_questions_and_no_change_is_missed() -> None:
    async def main() -> None:
        store = memory_store()
        away = Away(store)
        await store.apply(route("space", "before"), owner="test")
        async with Cache(cast("Any", away), (HTTPRoute,), rng=random.Random(1)) as cache:
            seen = await cache.changed(0)
            away.is_away = True
            await asyncio.sleep(5)
            away.calls = 0
            await store.apply(route("space", "after"), owner="test")
            await store.delete(HTTPRoute, Key("space", "before"))
            await asyncio.sleep(600)
            assert away.calls <= 600 / (LONGEST_DELAY_S / 2) + 1
            assert names(cache) == ["before"]
            away.is_away = False
            await asyncio.sleep(LONGEST_DELAY_S + 1)
            assert names(cache) == ["after"]
            keys = {(HTTPRoute, Key("space", name)) for name in ("before", "after")}
            assert cache.changes(seen)[1] == keys

    run_in_virtual_time(main())


@pytest.mark.parametrize("why", [NotServed("404"), Withheld("403")])
def test_an_optional_kind_may_be_absent_and_is_there_when_it_comes(why: StoreUnavailable) -> None:
    async def main() -> None:
        away = Away(memory_store())
        away.withheld = {InferencePool: why}
        await away._store.apply(pool("p"), owner="test")
        async with Cache(cast("Any", away), (HTTPRoute,), optional=(InferencePool,), rng=random.Random(1)) as cache:
            await asyncio.wait_for(cache.synced(), 1)
            assert (cache.serves(HTTPRoute), cache.serves(InferencePool)) == (True, False)
            assert cache.all(InferencePool) == ()
            await asyncio.sleep(60)
            seen, away.calls = cache.version, 0
            await asyncio.sleep(600)
            assert away.calls <= 600 / (LONGEST_DELAY_S / 2) + 600 + 1
            assert cache.version == seen
            away.withheld.clear()
            await asyncio.wait_for(cache.changed(seen), LONGEST_DELAY_S)
            assert cache.serves(InferencePool)
            assert [each.metadata.name for each in cache.all(InferencePool)] == ["p"]

    run_in_virtual_time(main())


@pytest.mark.parametrize(("why", "is_kept"), [(NotServed("404"), False), (Withheld("403"), True)])
def test_of_an_optional_kind_the_last_state_stands_unless_it_is_gone(why: StoreUnavailable, *, is_kept: bool) -> None:
    async def main() -> None:
        away = Away(memory_store())
        await away._store.apply(pool("p"), owner="test")
        async with Cache(cast("Any", away), (), optional=(InferencePool,), rng=random.Random(1)) as cache:
            await cache.synced()
            seen, away.withheld = cache.version, {InferencePool: why}
            await asyncio.sleep(20)
            assert (cache.serves(InferencePool), bool(cache.all(InferencePool))) == (is_kept, is_kept)
            assert (cache.version == seen) == is_kept
            away.withheld = {}
            await asyncio.sleep(20)
            assert (cache.serves(InferencePool), bool(cache.all(InferencePool))) == (True, True)

    run_in_virtual_time(main())


async def test_a_kind_that_is_needed_is_waited_for() -> None:
    away = Away(memory_store())
    away.withheld = {InferencePool: NotServed("404")}
    async with Cache(cast("Any", away), (InferencePool,), rng=random.Random(1)) as cache:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cache.synced(), 0.3)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["apply", "delete", "forget"])), max_size=40),
    st.integers(1, 8),
)
def test_changes_name_all_that_differs_or_nothing_at_all(steps: list[tuple[str, str]], remembered: int) -> None:
    async def main() -> None:
        store = memory_store()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("argosy.edge.kube.cache.REMEMBERED", remembered)
            async with Cache(store, (HTTPRoute,), rng=random.Random(1)) as cache:
                await cache.synced()
                seen = cache.version
                before = {obj.key: obj for obj in cache.all(HTTPRoute)}
                for number, (name, what) in enumerate(steps):
                    if what == "apply":
                        await store.apply(route("space", name, weight=number + 1), owner="test")
                    elif what == "delete":
                        await store.delete(HTTPRoute, Key("space", name))
                    else:
                        store.forget_history()
                    if number % 3 == 0:
                        await asyncio.sleep(0)
                await asyncio.sleep(10)
                there = (await store.list(HTTPRoute)).items
                assert cache.all(HTTPRoute) == there
                after = {obj.key: obj for obj in there}
                differs = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
                version, changed = cache.changes(seen)
                assert version == cache.version
                assert changed is None or {key for _, key in changed} >= differs
                assert len(list(itertools.chain(*cache._changes))) <= remembered

    run_in_virtual_time(main())
