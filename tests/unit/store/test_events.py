"""Events: the same is told once and counted, and neither a flood nor a store that is away costs more than allowed."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

from argosy.api.coordination import Event
from argosy.api.kubernetes import Namespace
from argosy.api.objects import Object, ObjectMeta
from argosy.edge.kube.events import AWAY_S, BURST, MAX_WAITING, PER_SECOND, REFILL_S, REPEAT_S, Events
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.port import Rejected, StoreUnavailable
from contracts.store_contract import route
from harness.virtual_time import run_in_virtual_time


class Counted(InMemoryStore):
    """A store that counts the Events it is sent, and may be away or refuse."""

    def __init__(self) -> None:
        uids = map("uid-{}".format, itertools.count())
        super().__init__(now=lambda: "2026-01-01T00:00:00Z", new_uid=lambda: next(uids))
        self.calls = 0
        self.error: Exception | None = None

    async def apply(self, obj: Any, *, owner: str) -> Any:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return await super().apply(obj, owner=owner)


def now() -> str:
    return f"second {int(asyncio.get_running_loop().time())}"


@contextlib.asynccontextmanager
async def telling(store: InMemoryStore) -> AsyncIterator[Events]:
    events = Events(store, "argosy-test", now=now)
    task = asyncio.create_task(events.run())
    try:
        yield events
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def told(store: InMemoryStore) -> tuple[Event, ...]:
    return (await store.list(Event)).items


def thing(name: str = "a") -> Object:
    return route("space", name, uid=f"uid of {name}")


def test_what_is_told_names_the_object_and_who_says_it() -> None:
    async def main() -> None:
        store = Counted()
        async with telling(store) as events:
            events.record(thing(), "Warning", "Failing", "It fails.")
            await asyncio.sleep(1)
        (event,) = await told(store)
        about = event.involved_object
        assert event.metadata.namespace == "space"
        assert event.metadata.name.startswith("a.")
        assert (about.kind, about.namespace, about.name, about.uid) == ("HTTPRoute", "space", "a", "uid of a")
        assert (event.type, event.reason, event.message, event.count) == ("Warning", "Failing", "It fails.", 1)
        assert (event.first_timestamp, event.last_timestamp) == ("second 0", "second 0")
        assert event.source is not None
        assert event.source.component == "argosy-test"

    run_in_virtual_time(main())


def test_what_is_about_the_cluster_is_told_in_the_namespace_default_and_a_long_name_is_cut() -> None:
    async def main() -> None:
        store = Counted()
        async with telling(store) as events:
            events.record(Namespace(metadata=ObjectMeta(name="n" * 253)), "Normal", "Made", "m" * 5000)
            await asyncio.sleep(1)
        (event,) = await told(store)
        assert event.metadata.namespace == "default"
        assert len(event.metadata.name) == 253
        assert len(event.message) == 1024

    run_in_virtual_time(main())


def test_the_same_is_one_event_that_is_counted_and_seldom_written() -> None:
    async def main() -> None:
        store = Counted()
        async with telling(store) as events:
            for _ in range(300):
                events.record(thing(), "Warning", "Failing", "It fails.")
                await asyncio.sleep(1)
            events.record(thing(), "Warning", "Failing", "It fails otherwise.")
            await asyncio.sleep(REPEAT_S)
        one, other = sorted(await told(store), key=lambda event: -event.count)
        assert (one.count, one.first_timestamp, one.last_timestamp) == (300, "second 0", "second 299")
        assert other.count == 1
        assert store.calls <= 2 + 300 / REPEAT_S + 1

    run_in_virtual_time(main())


def test_the_next_process_counts_on() -> None:
    async def main() -> None:
        store = Counted()
        for _ in range(2):
            async with telling(store) as events:
                for _ in range(3):
                    events.record(thing(), "Normal", "Made", "It is made.")
                await asyncio.sleep(REPEAT_S)
        (event,) = await told(store)
        assert (event.count, event.first_timestamp) == (6, "second 0")

    run_in_virtual_time(main())


def test_of_one_object_only_so_much_is_told() -> None:
    async def main() -> None:
        store = Counted()
        async with telling(store) as events:
            for number in range(600):
                events.record(thing(), "Normal", "Counted", f"It is {number}.")
                await asyncio.sleep(1)
            events.record(thing("b"), "Normal", "Counted", "It is one.")
            await asyncio.sleep(1)
        events_of = [event.involved_object.name for event in await told(store)]
        assert events_of.count("a") <= BURST + 600 / REFILL_S + 1
        assert events_of.count("b") == 1

    run_in_virtual_time(main())


def test_a_flood_is_written_at_a_bounded_rate_and_the_excess_dropped() -> None:
    async def main() -> None:
        store = Counted()
        async with telling(store) as events:
            for number in range(5 * MAX_WAITING):
                events.record(thing(f"t{number}"), "Normal", "Made", "It is made.")
            await asyncio.sleep(10)
            assert store.calls <= 10 * PER_SECOND + 1
            await asyncio.sleep(MAX_WAITING / PER_SECOND)
        assert len(await told(store)) == MAX_WAITING

    run_in_virtual_time(main())


def test_while_the_store_is_away_what_is_told_waits_and_it_is_seldom_asked() -> None:
    async def main() -> None:
        store = Counted()
        async with telling(store) as events:
            store.error = StoreUnavailable("away")
            for name in "abc":
                events.record(thing(name), "Normal", "Made", "It is made.")
            await asyncio.sleep(600)
            assert store.calls <= 600 / AWAY_S + 1
            store.error = None
            await asyncio.sleep(2 * AWAY_S)
        assert [event.involved_object.name for event in await told(store)] == ["a", "b", "c"]

    run_in_virtual_time(main())


def test_what_the_store_refuses_is_dropped_and_the_next_is_told() -> None:
    async def main() -> None:
        store = Counted()
        async with telling(store) as events:
            store.error = Rejected("no")
            events.record(thing("a"), "Normal", "Made", "It is made.")
            await asyncio.sleep(1)
            store.error = None
            events.record(thing("b"), "Normal", "Made", "It is made.")
            await asyncio.sleep(600)
        assert [event.involved_object.name for event in await told(store)] == ["b"]

    run_in_virtual_time(main())
