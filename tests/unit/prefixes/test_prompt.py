from hypothesis import given
from hypothesis import strategies as st

from argosy.decide.prefixes.index import PrefixIndex
from argosy.decide.prefixes.prompt import BLOCK_BYTES, ENDS, NO_PROMPT, prompt_of

PARTS = st.lists(st.binary(min_size=1, max_size=1500), min_size=1, max_size=6)
HERE = 0


@given(PARTS)
def test_a_prompt_knows_its_size_and_its_blocks(parts: list[bytes]) -> None:
    prompt, length = prompt_of(parts, b"k"), sum(map(len, parts))
    assert prompt.size == length / BLOCK_BYTES
    assert len(prompt.blocks) == length // BLOCK_BYTES
    assert [at for _, at in prompt.ends] == sorted((at for _, at in prompt.ends), reverse=True)
    assert len(prompt.ends) <= ENDS


@given(PARTS, PARTS)
def test_a_conversation_that_goes_on_matches_to_the_byte(before: list[bytes], after: list[bytes]) -> None:
    after = after[: ENDS - 1]
    index = PrefixIndex(room=100)
    index.sent(HERE, prompt_of(before, b"k"), 0.0)
    longer = prompt_of([*before, *after], b"k")
    assert index.match(longer).lengths([HERE])[0] == sum(map(len, before)) / BLOCK_BYTES


@given(PARTS, PARTS)
def test_prompts_share_what_their_texts_share_in_whole_blocks(one: list[bytes], other: list[bytes]) -> None:
    first, second = b"".join(one), b"".join(other)
    shared = next(
        (at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    ours, theirs = prompt_of(one, b"k").blocks, prompt_of(other, b"k").blocks
    same = [a == b for a, b in zip(ours, theirs, strict=False)]
    assert same == [number < shared // BLOCK_BYTES for number in range(len(same))]


@given(PARTS)
def test_another_key_is_another_prompt(parts: list[bytes]) -> None:
    index = PrefixIndex(room=100)
    index.sent(HERE, prompt_of(parts, b"model a"), 0.0)
    assert index.match(prompt_of(parts, b"model b")).lengths([HERE])[0] == 0.0
    assert index.match(prompt_of(parts, b"model a")).lengths([HERE])[0] == prompt_of(parts, b"model a").size


def test_a_prompt_that_begins_otherwise_matches_nowhere_though_it_goes_on_alike() -> None:
    index = PrefixIndex(room=100)
    index.sent(HERE, prompt_of([b"a" * 3000], b"k"), 0.0)
    assert index.match(prompt_of([b"b" + b"a" * 2999], b"k")).lengths([HERE])[0] == 0.0


def test_no_text_is_no_prompt() -> None:
    assert prompt_of([], b"k") == NO_PROMPT
    assert prompt_of([b""], b"k") == NO_PROMPT


def test_what_is_hashed_of_an_endless_prompt_has_an_end() -> None:
    prompt = prompt_of([b"x" * (5000 * BLOCK_BYTES + 1)], b"k")
    assert (len(prompt.blocks), prompt.ends) == (4096, ())
