"""What engines of one sequence a slot hold, by the index and by a plain model of llama.cpp's rule."""

from hypothesis import given
from hypothesis import strategies as st

from argosy.decide.prefixes.index import PrefixIndex
from argosy.decide.prefixes.prompt import Prompt, prompt_of
from argosy.engines.llama_cpp import SIMILAR

HERE, THERE = 0, 1
LETTERS = st.lists(st.sampled_from("ab"), min_size=1, max_size=8).map("".join)


def chain(text: str) -> Prompt:
    """Give a prompt of one block for each letter."""
    return Prompt(tuple(hash(text[: n + 1]) for n in range(len(text))), (), float(len(text)))


def held(index: PrefixIndex, prompt: Prompt, number: int = HERE) -> float:
    return index.match(prompt).lengths([number])[0]


def slotted(slots: int, room: int = 100) -> PrefixIndex:
    index = PrefixIndex(room=room)
    index.resized(HERE, room, slots)
    return index


def common(one: str, other: str) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@given(st.integers(1, 3), st.lists(st.tuples(LETTERS, LETTERS), max_size=30))
def test_it_holds_what_llama_cpp_s_rule_leaves_in_its_slots(slots: int, texts: list[tuple[str, str]]) -> None:
    index = slotted(slots)
    contents: list[tuple[str, int]] = [("", -1)] * slots
    for now, (sent, asked) in enumerate(texts):
        index.sent(HERE, chain(sent), float(now))

        def rank(slot: int, sent: str = sent) -> tuple[int, int]:
            text, used = contents[slot]
            shared = common(text, sent)
            return (-shared if shared > SIMILAR * len(sent) else 0, used)

        contents[min(range(slots), key=rank)] = sent, now
        assert held(index, chain(asked)) == max(common(text, asked) for text, _ in contents)
        assert index.held_at(HERE) == len({text[: n + 1] for text, _ in contents for n in range(len(text))})


def test_a_prompt_that_found_every_slot_taken_ends_what_was_used_longest_ago() -> None:
    index = slotted(2)
    for now, text in enumerate(("aaa", "bbb", "aaa", "ccc")):
        index.sent(HERE, chain(text), float(now))
    assert held(index, chain("aaa")) == 3
    assert held(index, chain("bbb")) == 0
    assert held(index, chain("ccc")) == 3


def test_a_conversation_goes_on_in_its_slot_though_it_is_shorter_than_a_block() -> None:
    index, first, second = slotted(2), b'{"role":"user","content":"hello"}', b'{"role":"user","content":"and?"}'
    index.sent(HERE, prompt_of([first], b"m"), 0.0)
    index.sent(HERE, prompt_of([b"something else"], b"m"), 1.0)
    longer = prompt_of([first, second], b"m")
    assert 0 < held(index, longer) < longer.size
    index.sent(HERE, longer, 2.0)
    assert held(index, longer) == longer.size
    assert held(index, prompt_of([b"something else"], b"m")) > 0
    index.sent(HERE, prompt_of([b"a third"], b"m"), 3.0)
    assert held(index, prompt_of([b"something else"], b"m")) == 0


def test_what_all_slots_hold_stays_within_the_room() -> None:
    index = slotted(4, room=5)
    for now, text in enumerate(("aaa", "bbb", "cccccccc")):
        index.sent(HERE, chain(text), float(now))
        assert index.held_at(HERE) <= 5
    assert held(index, chain("cccccccc")) == 5


def test_no_room_holds_nothing() -> None:
    index = slotted(2, room=0)
    index.sent(HERE, chain("aaa"), 0.0)
    assert index.held_at(HERE) == 0


def test_a_smaller_room_is_kept_to_though_slots_held_more() -> None:
    index = slotted(2)
    index.sent(HERE, chain("aaaa"), 0.0)
    index.resized(HERE, 2, 2)
    assert index.held_at(HERE) == 2
    for now, text in enumerate(("bb", "cc"), start=1):
        index.sent(HERE, chain(text), float(now))
    assert held(index, chain("cc")) == 2
    assert index.held_at(HERE) == 2


def test_an_engine_with_other_slots_than_before_holds_nothing_yet() -> None:
    index = slotted(2)
    index.sent(HERE, chain("aaa"), 0.0)
    index.resized(HERE, 100, 2)
    assert held(index, chain("aaa")) == 3
    index.resized(HERE, 100, 3)
    assert held(index, chain("aaa")) == 0
    assert index.blocks == 0
    index.resized(HERE, 100)
    for now, text in enumerate(("aaa", "bbb", "ccc", "ddd")):
        index.sent(HERE, chain(text), float(now))
    assert held(index, chain("aaa")) == 3


def test_room_is_dear_where_every_slot_is_taken_by_something_else() -> None:
    index = slotted(2)
    index.resized(THERE, 100)
    for number in (HERE, THERE):
        for now, text in enumerate(("aaa", "bbb")):
            index.sent(number, chain(text), float(now))
    assert index.pressures([HERE, THERE], 3.0, [0.0, 0.0], 10.0) == [0.1, 0.0]
    assert index.pressures([HERE, THERE], 4.0, [3.0, 3.0], 10.0) == [0.0, 0.0]
