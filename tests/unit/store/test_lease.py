"""Of several candidates one leads: at most one at any time, and one soon when all is well."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.api.coordination import Lease, LeaseSpec
from argosy.api.objects import Key, ObjectMeta
from argosy.edge.kube.lease import TIMES, Leadership, LeaseTimes
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.port import StoreUnavailable
from harness.virtual_time import run_in_virtual_time

KEY = Key("argosy-system", "argosy-operator")
LONGEST_S = TIMES.duration_s + 2 * TIMES.retry_s


def memory_store() -> InMemoryStore:
    uids = map("uid-{}".format, itertools.count())
    return InMemoryStore(now=lambda: "2026-01-01T00:00:00Z", new_uid=lambda: next(uids))


def now() -> str:
    return f"2026-01-01T00:00:00.{int(asyncio.get_running_loop().time() * 1000) % 1000000:06}Z"


def candidate(
    store: Any, identity: str, clock: Callable[[], float] | None = None, times: LeaseTimes = TIMES
) -> Leadership:
    return Leadership(store, KEY, identity, now=now, times=times, clock=clock or asyncio.get_running_loop().time)


async def passed(seconds: float) -> None:
    """Let virtual time pass."""
    await asyncio.sleep(seconds)


def in_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        run_in_virtual_time(test())

    run.__name__ = test.__name__
    return run


class Away:
    """A store that can be away, or silent."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store
        self.is_away = False
        self.is_silent = False
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.is_silent:
                await asyncio.Event().wait()
            if self.is_away:
                raise StoreUnavailable("away")
            return await getattr(self._store, name)(*args, **options)

        return call


@in_virtual_time
async def test_the_first_leads_and_the_second_waits() -> None:
    store = memory_store()
    async with candidate(store, "a") as a, candidate(store, "b") as b:
        await a.won()
        await passed(100)
        assert (a.leading, b.leading) == (True, False)
        assert (a.holder, b.holder) == ("a", "a")
        lease = await store.get(Lease, KEY)
        assert lease is not None
        assert lease.spec.holder_identity == "a"
        assert lease.spec.lease_duration_seconds == 15
        assert lease.spec.renew_time != lease.spec.acquire_time


@in_virtual_time
async def test_whoever_ends_in_order_leaves_the_lease_to_the_next_at_once() -> None:
    store = memory_store()
    async with candidate(store, "b") as b:
        async with candidate(store, "a") as a:
            await passed(TIMES.retry_s)
            first, second = (a, b) if a.leading else (b, a)
            assert first.leading
            assert not second.leading
        if first is a:
            assert not first.leading
            assert first.lost.is_set()
            await passed(TIMES.retry_s)
        assert b.leading
    lease = await store.get(Lease, KEY)
    assert lease is not None
    assert not lease.spec.holder_identity


@in_virtual_time
async def test_the_lease_of_one_that_has_gone_is_taken_when_it_has_run_out() -> None:
    store = memory_store()
    spec = LeaseSpec(holder_identity="gone", lease_duration_seconds=30, lease_transitions=4, renew_time="2099-01-01")
    await store.apply(Lease(metadata=ObjectMeta(namespace=KEY.namespace, name=KEY.name), spec=spec), owner="them")
    async with candidate(store, "a") as a:
        await passed(29)
        assert not a.leading
        await passed(1 + TIMES.retry_s)
        assert a.leading
        lease = await store.get(Lease, KEY)
        assert lease is not None
        assert lease.spec.lease_transitions == 5


@in_virtual_time
async def test_wall_clocks_are_not_believed() -> None:
    """A holder whose clock has stood still for years renews all the same."""
    store = memory_store()
    async with candidate(store, "a") as a:
        for number in range(20):
            metadata = ObjectMeta(namespace=KEY.namespace, name=KEY.name)
            spec = LeaseSpec(holder_identity="b", lease_duration_seconds=3, renew_time=f"1999-01-01T00:00:{number:02}Z")
            await store.apply(Lease(metadata=metadata, spec=spec), owner="them")
            await passed(2)
            assert not a.leading


@in_virtual_time
async def test_while_the_store_is_away_the_leader_goes_on_until_its_deadline_and_says_when_it_is_over() -> None:
    away = Away(memory_store())
    for attribute in ("is_away", "is_silent"):
        async with candidate(away, "a") as a:
            await a.won()
            setattr(away, attribute, True)
            renewed_s = TIMES.retry_s
            await passed(TIMES.renew_deadline_s - renewed_s - 0.1)
            assert a.leading
            assert not a.lost.is_set()
            begun = asyncio.get_running_loop().time()
            await asyncio.wait_for(a.lost.wait(), renewed_s + 0.2)
            assert not a.leading
            assert asyncio.get_running_loop().time() - begun < renewed_s + 0.2
            calls = away.calls
            await passed(600)
            assert away.calls - calls <= 600 / TIMES.retry_s + 1
            setattr(away, attribute, False)
            await asyncio.wait_for(a.won(), LONGEST_S)
            assert not a.lost.is_set()


@in_virtual_time
async def test_a_process_that_was_stopped_knows_before_it_does_anything_else() -> None:
    stopped_s = 0.0
    loop = asyncio.get_running_loop()
    store = memory_store()
    a = candidate(store, "a", lambda: loop.time() + stopped_s)
    async with a:
        await a.won()
        stopped_s = TIMES.renew_deadline_s
        assert not a.leading


@in_virtual_time
async def test_a_lease_that_another_took_by_hand_is_given_up() -> None:
    store = memory_store()
    async with candidate(store, "a") as a:
        await a.won()
        held = await store.get(Lease, KEY)
        assert held is not None
        theirs = msgspec.structs.replace(held.spec, holder_identity="b")
        await store.replace(msgspec.structs.replace(held, spec=theirs), owner="them")
        await asyncio.wait_for(a.lost.wait(), 3 * TIMES.retry_s)
        assert not a.leading
        assert a.holder == "b"


@in_virtual_time
async def test_a_lease_that_was_deleted_is_made_anew() -> None:
    store = memory_store()
    async with candidate(store, "a") as a:
        await a.won()
        await store.delete(Lease, KEY)
        await passed(3 * TIMES.retry_s)
        assert a.leading
        assert not a.lost.is_set()


@in_virtual_time
async def test_a_lease_that_was_deleted_is_not_taken_while_its_holder_may_rely_on_it() -> None:
    store = memory_store()
    theirs = Away(store)
    async with candidate(theirs, "a") as a:
        await a.won()
        async with candidate(store, "b") as b:
            await passed(TIMES.retry_s)
            theirs.is_silent = True
            await store.delete(Lease, KEY)
            while not b.leading:
                await passed(0.1)
            assert not a.leading


def test_a_bug_is_raised_to_whoever_waits() -> None:
    class Broken:
        async def get(self, _kind: Any, _key: Key) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            async with candidate(Broken(), "a") as a:
                await a.won()

    run_in_virtual_time(main())


class Bad:
    """A store on the other side of a network that is bad at times: slow, and it loses requests and answers."""

    def __init__(self, store: InMemoryStore, rng: random.Random) -> None:
        self._store = store
        self._rng = rng
        self._good_until_s = 0.0
        self._bad_until_s = 0.0
        self.is_repaired = False

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            await self._trouble()
            # What is on its way arrives, whether or not somebody still waits for the answer.
            answer = await asyncio.shield(asyncio.ensure_future(getattr(self._store, name)(*args, **options)))
            await self._trouble()
            return answer

        return call

    async def _trouble(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s > self._bad_until_s:
            self._good_until_s = now_s + self._rng.expovariate(1 / 10)
            self._bad_until_s = self._good_until_s + self._rng.expovariate(1 / 10)
        if self.is_repaired or now_s < self._good_until_s:
            return
        await asyncio.sleep(self._rng.choice([0, 0.1, 1, 2, 10]))
        if self._rng.random() < 0.5:
            raise StoreUnavailable("lost")


@contextlib.asynccontextmanager
async def living(leadership: Leadership, rng: random.Random) -> AsyncIterator[None]:
    """Have a candidate come and go."""

    async def live() -> None:
        while True:
            async with leadership:
                await asyncio.sleep(rng.expovariate(1 / 60))
            await asyncio.sleep(rng.expovariate(1 / 10))

    task = asyncio.create_task(live())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


HURRIED = LeaseTimes(duration_s=5, renew_deadline_s=4.9, retry_s=0.5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 4))
def test_never_do_two_lead_and_when_all_is_well_one_does(seed: int, count: int) -> None:
    rng = random.Random(seed)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        store = memory_store()
        networks = [Bad(store, rng) for _ in range(count)]
        offsets = [rng.uniform(0, 1e6) for _ in range(count)]
        clocks = [lambda offset=offset: loop.time() + offset for offset in offsets]
        candidates = [candidate(networks[n], f"c{n}", clocks[n], HURRIED) for n in range(count)]
        async with contextlib.AsyncExitStack() as stack:
            for each in candidates:
                await stack.enter_async_context(living(each, rng))
            for _ in range(3000):
                await asyncio.sleep(0.1)
                assert sum(each.leading for each in candidates) <= 1
        for network in networks:
            network.is_repaired = True
        async with contextlib.AsyncExitStack() as stack:
            for each in candidates:
                await stack.enter_async_context(each)
            await asyncio.sleep(20)
            assert sum(each.leading for each in candidates) == 1

    run_in_virtual_time(main())
