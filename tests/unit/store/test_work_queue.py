"""The work queue: every key is handled, by one worker at a time, and again when it was added meanwhile."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.base.errors import PeerError
from argosy.edge.kube.queue import LONGEST_S, WorkQueue
from harness.virtual_time import run_in_virtual_time
from harness.waiting import until

Handler = Callable[[str], Awaitable[None]]


def queue() -> WorkQueue[str]:
    return WorkQueue(rng=random.Random(1))


@contextlib.asynccontextmanager
async def working(of: WorkQueue[str], handle: Handler, *, workers: int = 2) -> AsyncIterator[None]:
    task = asyncio.create_task(of.run(handle, workers=workers))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_key_that_was_added_often_is_handled_once() -> None:
    done: list[str] = []

    async def handle(key: str) -> None:
        done.append(key)

    work = queue()
    for key in "abab":
        work.add(key)
    async with working(work, handle):
        await until(lambda: work.idle)
    assert done == ["a", "b"]


async def test_a_key_that_is_added_while_it_is_handled_is_handled_once_more_and_never_twice_at_a_time() -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    running, most, done = 0, 0, 0

    async def handle(_key: str) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        begun.set()
        await go.wait()
        running -= 1
        done += 1

    work = queue()
    work.add("a")
    async with working(work, handle, workers=4):
        await begun.wait()
        work.add("a")
        work.add("a")
        assert len(work) == 1
        go.set()
        await until(lambda: work.idle and not len(work))
    assert (most, done) == (1, 2)


async def test_a_key_that_failed_is_tried_again_later_and_its_failures_are_forgotten_when_it_succeeds() -> None:
    tries: list[float] = []

    async def handle(_key: str) -> None:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) < 3:
            raise PeerError("away")

    work = queue()
    work.add("a")
    async with working(work, handle):
        await until(lambda: len(tries) == 3 and work.idle)
        assert not work._failures
    assert tries[1] - tries[0] >= 0.05
    assert tries[2] - tries[1] >= 0.1


async def test_adding_does_not_wait_for_a_back_off() -> None:
    tries = 0

    async def handle(_key: str) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise PeerError("away")

    work = queue()
    work.add("a")
    async with working(work, handle):
        await until(lambda: len(work._timers) == 1)
        work.add("a")
        assert not work._timers
        await until(lambda: tries == 2)


async def test_the_earliest_of_several_times_holds() -> None:
    work = queue()
    work.add_after("a", 100)
    work.add_after("a", 0.01)
    work.add_after("a", 100)
    done = asyncio.Event()

    async def handle(_key: str) -> None:
        done.set()

    async with working(work, handle):
        await asyncio.wait_for(done.wait(), 10)
    work.add("b")
    work.add_after("b", 1)
    assert len(work) == 1


async def test_a_bug_in_the_handler_ends_the_work() -> None:
    async def handle(_key: str) -> None:
        raise ZeroDivisionError

    work = queue()
    work.add("a")
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(work.run(handle, workers=2), 10)
    assert caught.group_contains(ZeroDivisionError)


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.integers(1, 5), st.integers(0, 2**32))
def test_no_key_is_lost_whatever_fails_and_whenever_it_comes(keys: list[str], workers: int, seed: int) -> None:
    rng = random.Random(seed)

    async def main() -> None:
        version = dict.fromkeys(keys, 0)
        seen = dict.fromkeys(keys, -1)
        work = queue()

        async def handle(key: str) -> None:
            was = version[key]
            await asyncio.sleep(0)
            if rng.random() < 0.2:
                work.add(key)
                raise PeerError("away")
            seen[key] = was

        async with working(work, handle, workers=workers):
            for key in keys:
                version[key] += 1
                work.add(key)
                if rng.random() < 0.5:
                    await asyncio.sleep(0)
            await until(lambda: seen == version)

    asyncio.run(main())


async def test_a_key_whose_handling_was_broken_off_is_handled_by_the_next_run() -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    async def hang(_key: str) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def finish(_key: str) -> None:
        done.set()

    work = queue()
    work.add("a")
    async with working(work, hang):
        await begun.wait()
    async with working(work, finish):
        await asyncio.wait_for(done.wait(), 10)


class Watched:
    """A handler that takes its time, fails as it likes, and is watched."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.running: list[str] = []
        self.begun_s: dict[str, list[float]] = {}
        self.most = 0

    async def handle(self, key: str) -> None:
        assert key not in self.running
        self.running.append(key)
        self.most = max(self.most, len(self.running))
        self.begun_s.setdefault(key, []).append(asyncio.get_running_loop().time())
        try:
            await asyncio.sleep(self._rng.choice([0, 0.01, 1, 30]))
            if self._rng.random() < 0.5:
                raise PeerError("away")
        finally:
            self.running.remove(key)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([None, 0.0, 1.0, 90.0])), max_size=30),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
def test_whatever_is_asked_for_is_begun_after_it_was_asked_for_and_in_time(
    asked: list[tuple[str, float | None]], workers: int, seed: int
) -> None:
    rng = random.Random(seed)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        work, watched = WorkQueue[str](rng=rng), Watched(rng)
        due_s: list[tuple[str, float, float]] = []
        async with working(work, watched.handle, workers=workers):
            for key, delay_s in asked:
                if delay_s is None:
                    work.add(key)
                else:
                    work.add_after(key, delay_s)
                due_s.append((key, loop.time(), loop.time() + (delay_s or 0)))
                await asyncio.sleep(rng.choice([0, 0, 5, 40]))
            await asyncio.sleep(100_000)
            assert work.idle
            assert not len(work)
        assert watched.most <= workers
        for key, asked_s, latest_s in due_s:
            # Three keys, each of which may be handled for 30 s, are at most all in front.
            assert any(asked_s <= begun_s <= latest_s + 4 * 31 for begun_s in watched.begun_s[key])

    run_in_virtual_time(main())


def test_one_that_always_fails_is_tried_ever_less_often_up_to_once_a_minute() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        tries_s: list[float] = []

        async def handle(_key: str) -> None:
            tries_s.append(loop.time())
            raise PeerError("away")

        work = queue()
        work.add("a")
        async with working(work, handle):
            await asyncio.sleep(600)
        pauses_s = [later - earlier for earlier, later in itertools.pairwise(tries_s)]
        assert len(tries_s) <= 10 + 600 / (LONGEST_S / 2)
        assert max(pauses_s) <= LONGEST_S
        assert all(later > earlier for earlier, later in itertools.pairwise(pauses_s[:9:2]))

    run_in_virtual_time(main())
