import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.base.errors import CallerError
from argosy.decide.prefixes.index import PrefixIndex
from argosy.decide.prefixes.prompt import Prompt

NUMBERS = range(4)
A, B, C, D = NUMBERS


def prompt(*blocks: int, ends: tuple[tuple[int, float], ...] = ()) -> Prompt:
    return Prompt(tuple(blocks), ends, float(len(blocks)))


PROMPTS = st.lists(st.integers(0, 2), max_size=5).map(
    lambda text: prompt(*(hash(tuple(text[:length])) for length in range(1, len(text) + 1)))
)
EVENTS = st.one_of(
    st.tuples(st.just("sent"), st.sampled_from(NUMBERS), PROMPTS),
    st.tuples(st.just("resized"), st.sampled_from(NUMBERS), st.integers(0, 6)),
    st.tuples(st.just("forget"), st.sampled_from(NUMBERS), st.none()),
)


def matched(index: PrefixIndex, wanted: Prompt) -> dict[int, float]:
    match = index.match(wanted)
    return {number: length for number, length in zip(NUMBERS, match.lengths(NUMBERS), strict=True) if length}


class Naive:
    """The same in the plainest words: a list for each endpoint, least recently used first."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.rooms: dict[int, int] = {}
        self.lists: dict[int, list[int]] = {}

    def sent(self, number: int, given_prompt: Prompt) -> None:
        room = self.rooms.setdefault(number, self.room)
        first = list(given_prompt.blocks[:room])
        older = [block for block in self.lists.get(number, []) if block not in first]
        self.lists[number] = (older + first[::-1])[max(len(older) + len(first) - room, 0) :]

    def resized(self, number: int, room: int) -> None:
        self.rooms[number] = room
        blocks = self.lists.get(number, [])
        self.lists[number] = blocks[max(len(blocks) - room, 0) :]

    def forget(self, number: int, _: None) -> None:
        self.rooms.pop(number, None)
        self.lists.pop(number, None)

    def matched(self, wanted: Prompt) -> dict[int, float]:
        lengths = {
            number: next((n for n, block in enumerate(wanted.blocks) if block not in blocks), len(wanted.blocks))
            for number, blocks in self.lists.items()
        }
        return {number: float(length) for number, length in lengths.items() if length}


@given(st.integers(0, 6), st.lists(st.tuples(EVENTS, PROMPTS), max_size=40))
def test_it_says_what_a_naive_model_says(room: int, events: list[tuple[tuple[str, int, object], Prompt]]) -> None:
    index, naive = PrefixIndex(room=room), Naive(room)
    for (name, first, second), wanted in events:
        getattr(index, name)(*{"forget": (first,), "sent": (first, second, 0.0)}.get(name, (first, second)))
        getattr(naive, name)(first, second)
        assert matched(index, wanted) == naive.matched(wanted)
        assert index.blocks == len({block for blocks in naive.lists.values() for block in blocks})
        assert [index.held_at(each) for each in NUMBERS] == [len(naive.lists.get(each, [])) for each in NUMBERS]
        assert [index.room_of(each) for each in NUMBERS] == [naive.rooms.get(each, room) for each in NUMBERS]


def test_each_endpoint_has_its_own_longest_prefix() -> None:
    index = PrefixIndex(room=10)
    index.sent(A, prompt(1, 2, 3), 0.0)
    index.sent(B, prompt(1, 9), 0.0)
    index.sent(C, prompt(7), 0.0)
    assert matched(index, prompt(1, 2, 3, 4)) == {A: 3, B: 1}
    assert matched(index, prompt()) == {}


def test_a_prompt_that_goes_on_within_a_block_matches_to_where_the_one_before_ended() -> None:
    index = PrefixIndex(room=10)
    index.sent(A, prompt(1, ends=((70, 1.5),)), 0.0)
    index.sent(B, prompt(1), 0.0)
    longer = prompt(1, 2, ends=((90, 2.7), (70, 1.5), (60, 1.2)))
    assert matched(index, longer) == {A: 1.5, B: 1.0}
    assert index.held_at(A) == 2


def test_blocks_beyond_an_end_count_more_than_the_end() -> None:
    index = PrefixIndex(room=10)
    index.sent(A, prompt(1, ends=((70, 1.5),)), 0.0)
    index.sent(A, prompt(1, 2), 0.0)
    assert matched(index, prompt(1, 2, ends=((70, 1.5),))) == {A: 2.0}


def test_a_prompt_shorter_than_a_block_is_its_end() -> None:
    index = PrefixIndex(room=10)
    index.sent(A, prompt(ends=((70, 0.5),)), 0.0)
    assert matched(index, prompt(ends=((80, 0.7), (70, 0.5)))) == {A: 0.5}


def test_holders_are_given_those_that_hold_most_first() -> None:
    index = PrefixIndex(room=10)
    index.sent(A, prompt(1), 0.0)
    index.sent(B, prompt(1, 2, 3), 0.0)
    index.sent(C, prompt(1, 2), 0.0)
    index.sent(D, prompt(1, ends=((70, 1.5),)), 0.0)
    match = index.match(prompt(1, 2, 3, ends=((70, 1.5),)))
    everyone = 0b1111
    assert match.holders(everyone, 1) == 1 << B
    assert match.holders(everyone, 2) == 1 << B | 1 << C
    assert match.holders(everyone, 9) == everyone
    assert match.holders(1 << A | 1 << D, 1) == 1 << D
    assert match.holders(0, 9) == 0


def test_a_block_that_several_hold_stays_known_when_one_of_them_forgets_it() -> None:
    index = PrefixIndex(room=2)
    for number in (A, B):
        index.sent(number, prompt(1, 2), 0.0)
    index.sent(A, prompt(8, 9), 0.0)
    assert matched(index, prompt(1, 2)) == {B: 2}
    index.forget(B)
    assert matched(index, prompt(1, 2)) == {}
    assert index.blocks == 2


def test_the_end_of_a_prompt_is_forgotten_before_its_beginning() -> None:
    index = PrefixIndex(room=3)
    index.sent(A, prompt(1, 2, 3), 0.0)
    index.sent(A, prompt(8), 0.0)
    assert matched(index, prompt(1, 2, 3)) == {A: 2}


def test_what_comes_again_is_kept_longer_than_what_does_not() -> None:
    index = PrefixIndex(room=2)
    for block in (1, 2, 1, 3):
        index.sent(A, prompt(block), 0.0)
    assert matched(index, prompt(1)) == {A: 1}
    assert matched(index, prompt(2)) == {}


def test_prompts_without_end_hold_no_memory_without_end() -> None:
    index = PrefixIndex(room=8)
    for number in range(10_000):
        index.sent(number % 4, prompt(number, ends=((-number - 1, 1.5),)), 0.0)
    assert index.blocks == 4 * 8


def test_no_cache_has_less_than_no_room() -> None:
    with pytest.raises(CallerError, match="-1 blocks"):
        PrefixIndex(room=-1)
    with pytest.raises(CallerError, match="-2 blocks"):
        PrefixIndex(room=1).resized(A, -2)


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=120))
def test_all_endpoints_together_hold_no_more_than_there_is_memory_for(events: list[tuple[int, bool]]) -> None:
    index = PrefixIndex(room=1000, total=120)
    for turn, (number, gone) in enumerate(events):
        if gone:
            index.forget(number)
        else:
            index.sent(number, prompt(*(hash((turn, block)) for block in range(50))), 0.0)
            assert index.held_at(number) <= 120
        assert sum(index.held_at(each) for each in range(41)) <= 1.4 * 120


def test_many_that_came_and_went_leave_no_room_for_more_than_there_is() -> None:
    index = PrefixIndex(room=1000, total=120)
    for number in range(40):
        index.sent(number, prompt(number), 0.0)
    for number in range(40):
        index.forget(number)
    for number in range(10):
        index.sent(number, prompt(*(hash((number, block)) for block in range(500))), 0.0)
        assert sum(index.held_at(each) for each in range(40)) <= 1.4 * 120


def test_room_is_the_dearer_the_sooner_what_would_leave_was_used() -> None:
    index = PrefixIndex(room=4)
    assert index.pressures([A], 9.0, [0.0], 100.0) == [0.0]
    index.sent(A, prompt(1, 2), 60.0)
    assert index.pressures([A], 2.0, [0.0], 100.0) == [0.0]
    assert index.pressures([A], 3.0, [0.0], 100.0) == [1 / 40]
    index.sent(A, prompt(1, 3), 90.0)
    assert index.pressures([A], 3.0, [0.0], 100.0) == [1 / 40]
    index.sent(A, prompt(1, 3, 4, 5), 95.0)
    assert index.pressures([A], 1.0, [0.0], 100.0) == [1 / 5]
    assert index.pressures([A], 1.0, [0.0], 95.0) == [1000.0]
    index.resized(B, 0)
    assert index.pressures([B], 1.0, [0.0], 95.0) == [0.0]
