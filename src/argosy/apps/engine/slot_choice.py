"""Which slot takes a request: the one that holds most of its prompt already.

It is llama.cpp's own rule, told by bytes of text instead of tokens, and chosen here because a slot whose state has been
put there for one request must not be taken by another, and because a slot's state belongs to the adapter it was
computed with: llama.cpp takes no notice of that, and would answer with the other adapter's voice.
"""

from collections.abc import Iterable

import msgspec

from argosy.engines.llama_cpp import SIMILAR


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a slot holds."""

    text: bytes = b""
    adapter: str | None = ""
    """None when it is not known: the slot is nobody's to continue."""
    used: int = 0
    """When it was used last, in requests."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes."""

    slot: int
    reuses: bool
    """Whether what the slot holds may be continued."""


def choose(text: bytes, adapter: str, free: Iterable[tuple[int, Content]]) -> Choice:
    """Give the slot for a prompt among `free` ones, of which there is at least one.

    A tie is broken by what was used longest ago, then by number.
    """
    ranked = []
    for slot, content in free:
        held = common_prefix(text, content.text) if content.adapter == adapter else 0
        similar = held if held > SIMILAR * len(text) else 0
        ranked.append((-similar, content.used, slot, content.adapter == adapter))
    _, _, slot, reuses = min(ranked)
    return Choice(slot=slot, reuses=reuses)


def common_prefix(one: bytes, other: bytes) -> int:
    """Give how many bytes both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
