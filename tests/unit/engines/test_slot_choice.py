"""A request goes to the slot that holds most of its prompt, and never continues another adapter's."""

from hypothesis import given
from hypothesis import strategies as st

from argosy.apps.engine.slot_choice import Choice, Content, choose, common_prefix

SHORT = st.binary(max_size=12) | st.lists(st.sampled_from([b"a", b"b"]), max_size=12).map(b"".join)
CONTENTS = st.lists(
    st.builds(
        Content,
        text=SHORT,
        adapter=st.sampled_from(["", "pirate", None]),
        used=st.integers(0, 5),
    ),
    min_size=1,
    max_size=5,
)


def _choose(text: bytes, *contents: Content, adapter: str = "") -> Choice:
    return choose(text, adapter, enumerate(contents))


@given(SHORT, SHORT)
def test_a_common_prefix_is_as_long_as_both_agree(one: bytes, other: bytes) -> None:
    shared = common_prefix(one, other)
    assert one[:shared] == other[:shared]
    assert one[shared : shared + 1] != other[shared : shared + 1] or shared == len(one) == len(other)


@given(SHORT, st.sampled_from(["", "pirate"]), CONTENTS)
def test_only_a_slot_of_the_same_adapter_is_continued(text: bytes, adapter: str, contents: list[Content]) -> None:
    choice = _choose(text, *contents, adapter=adapter)
    assert choice.reuses == (contents[choice.slot].adapter == adapter)


@given(SHORT, CONTENTS)
def test_no_slot_holds_more_of_a_prompt_than_the_chosen_one(text: bytes, contents: list[Content]) -> None:
    def held(content: Content) -> int:
        return common_prefix(text, content.text) if content.adapter == "" else 0

    most = max(map(held, contents))
    if most > 0.1 * len(text):
        assert held(contents[_choose(text, *contents).slot]) == most


@given(SHORT, CONTENTS)
def test_the_order_in_which_slots_are_named_changes_nothing(text: bytes, contents: list[Content]) -> None:
    named = list(enumerate(contents))
    assert choose(text, "", named) == choose(text, "", reversed(named))


def test_a_prompt_that_is_like_none_goes_where_nobody_was_for_longest() -> None:
    old, new = Content(text=b"tea" * 40, used=1), Content(text=b"hull" * 40, used=2)
    assert _choose(b"t" + b"rain" * 30, new, old).slot == 1
    assert _choose(b"h" + b"rain" * 30, new, old).slot == 1
    assert _choose(b"hull" * 50, new, old).slot == 0


def test_a_slot_of_which_nothing_is_known_is_continued_by_nobody() -> None:
    unknown = Content(text=b"tea", adapter=None)
    assert _choose(b"tea", unknown) == Choice(slot=0, reuses=False)
    assert _choose(b"tea", unknown, adapter="pirate") == Choice(slot=0, reuses=False)
