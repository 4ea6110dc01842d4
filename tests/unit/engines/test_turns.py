"""Requests of one adapter compute together, and no other adapter waits for ever."""

import asyncio
import contextlib

from hypothesis import given
from hypothesis import strategies as st

from argosy.apps.engine.turns import Turns


class Guests:
    """Requests that took a place, by number, in the order in which they did."""

    def __init__(self, places: int) -> None:
        self.turns = Turns(places)
        self.came: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, *adapters: str) -> None:
        for adapter in adapters:
            self.tasks.append(asyncio.create_task(self._ask(len(self.tasks), adapter)))
        await settled()

    async def _ask(self, number: int, adapter: str) -> None:
        await self.turns.take(adapter)
        self.came.append(number)

    async def leave(self, count: int = 1) -> None:
        for _ in range(count):
            self.turns.give_back()
        await settled()


async def settled() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def test_one_adapter_has_the_turn_until_all_that_runs_has_ended() -> None:
    guests = Guests(3)
    await guests.ask("", "", "pirate")
    assert (guests.came, guests.turns.running, guests.turns.waiting) == ([0, 1], {""}, {"pirate"})
    await guests.leave()
    assert guests.came == [0, 1]
    await guests.leave()
    assert (guests.came, guests.turns.running, guests.turns.waiting) == ([0, 1, 2], {"pirate"}, set())
    await guests.leave()
    assert guests.turns.running == set()


async def test_requests_of_the_same_adapter_go_past_another_as_often_as_there_are_places() -> None:
    guests = Guests(2)
    await guests.ask("", "", "pirate", "", "", "")
    await guests.leave(2)
    assert guests.came == [0, 1, 3, 4]
    await guests.leave(1)
    assert guests.came == [0, 1, 3, 4]
    await guests.leave(1)
    assert guests.came == [0, 1, 3, 4, 2]


async def test_whoever_leaves_while_it_waits_holds_nobody_up_and_loses_no_place() -> None:
    guests = Guests(1)
    await guests.ask("", "pirate", "robot")
    guests.tasks[1].cancel()
    await guests.leave()
    assert guests.came == [0, 2]
    await guests.ask("robot")
    guests.turns.give_back()  # lets the last one in, which leaves at the same moment
    guests.tasks[3].cancel()
    await settled()
    assert guests.turns.running == set()
    await guests.ask("pirate")
    assert guests.came == [0, 2, 4]


@given(
    places=st.integers(1, 3),
    adapters=st.lists(st.sampled_from(["", "pirate", "robot"]), max_size=12),
    gone=st.sets(st.integers(0, 11), max_size=4),
)
def test_all_have_their_turn_and_no_two_adapters_at_once(places: int, adapters: list[str], gone: set[int]) -> None:
    async def run() -> None:
        guests = Guests(places)
        await guests.ask(*adapters)
        for number in gone & set(range(len(adapters))) - set(guests.came):
            guests.tasks[number].cancel()
        await settled()
        ended = 0
        while len(guests.came) > ended:
            inside = guests.came[ended:]
            assert len(inside) <= places
            assert {adapters[number] for number in inside} == guests.turns.running
            ended += 1
            await guests.leave()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*guests.tasks)
        stayed = set(range(len(adapters))) - {number for number in gone if number not in guests.came}
        assert set(guests.came) == stayed
        for number in guests.came:
            past = [other for other in guests.came[: guests.came.index(number)] if other > number]
            assert len(past) <= places

    asyncio.run(run())
