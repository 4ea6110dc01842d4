"""Which endpoint probably holds the beginning of a prompt in its prefix cache, judged by what was sent there.

Rules of this file:

- A state machine without time: events in (sent, resized, forgotten), matches out. Endpoints are numbers, sets of them
  bits of an int: see `base.numbering`.
- A prompt is a chain of block hashes: each hash stands for its block and for all before it, so a match is a prefix.
  Its end lies within a block mostly, and has a hash of its own.
- Every endpoint has a least-recently-used list of its own, as its engine has, with room for so many blocks. Of one
  prompt the last blocks go first: a block is of no use without those before it.
- An engine that keeps one sequence in each of its slots loses what stood in a slot to the prompt that takes it,
  however much room there is: see `slots`.
- A match costs O(blocks), however many endpoints there are.
- Memory is bounded: by the rooms of the endpoints, and by `total`, which all endpoints share equally. A block that
  nobody holds is not kept.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from argosy.base.errors import CallerError
from argosy.base.numbering import members
from argosy.decide.prefixes.prompt import Prompt
from argosy.decide.prefixes.slots import Slots
from argosy.engines.llama_cpp import SIMILAR

TOTAL: Final = 1 << 20
"""Some 300 MB."""
_SHRUNK: Final = 0.75
"""By how much the share of each must have become less until what idle endpoints hold is cut to it."""


class Match:
    """Who holds how much of one prompt. `levels` are lengths in blocks, growing, each with the set that holds it."""

    __slots__ = ("ends", "levels")

    def __init__(self, levels: list[tuple[float, int]], ends: list[tuple[float, int]]) -> None:
        self.levels = levels
        self.ends = ends

    def lengths(self, numbers: Sequence[int]) -> list[float]:
        """Give how many blocks of the prompt each of these endpoints holds; the last one may be held in part."""
        found = [0.0] * len(numbers)
        for length, holding in (*self.levels, *self.ends):
            if holding:
                found = [
                    length if holding >> number & 1 and length > held else held
                    for number, held in zip(numbers, found, strict=True)
                ]
        return found

    def holders(self, among: int, limit: int) -> int:
        """Give at most `limit` of these endpoints that hold anything, those that hold most."""
        found = 0
        for _, holding in sorted((*self.levels, *self.ends), reverse=True):
            for number in members(holding & among & ~found):
                found |= 1 << number
                if found.bit_count() >= limit:
                    return found
        return found


NO_MATCH = Match([], [])


class _Held:
    __slots__ = ("blocks", "room", "slots")

    def __init__(self, room: int) -> None:
        self.room = room
        self.slots: Slots | None = None
        self.blocks: OrderedDict[int, float] = OrderedDict()
        """When each was last used, in s; least recently used first."""

    def takes(self, size: float, own: float, share: int) -> bool:
        """Whether nothing else goes for a prompt of `size`, of which `own` blocks are there."""
        if self.slots is not None and self.slots.full and own <= SIMILAR * size:
            return False
        return len(self.blocks) + size - own <= min(self.room, share)


class PrefixIndex:
    """What the endpoints of a picker probably hold.

    `room`, in blocks, is that of a cache whose size is not known; `total` bounds what all endpoints hold together, a
    block counted for each that holds it.
    """

    def __init__(self, *, room: int, total: int = TOTAL) -> None:
        self._room = _checked(room)
        self._total = total
        self._share = self._kept_share = total
        self._held: dict[int, _Held] = {}
        self._holders: dict[int, int] = {}

    @property
    def blocks(self) -> int:
        """Distinct blocks, and ends of prompts, that are held by anybody."""
        return len(self._holders)

    def held_at(self, number: int) -> int:
        """Blocks that an endpoint holds."""
        held = self._held.get(number)
        return 0 if held is None else len(held.blocks)

    def room_of(self, number: int) -> int:
        """Blocks that an endpoint has room for."""
        held = self._held.get(number)
        return self._room if held is None else held.room

    def match(self, prompt: Prompt) -> Match:
        """Give who holds how much of the prompt."""
        holders = self._holders
        ends = [(length, holders.get(end, 0)) for end, length in prompt.ends]
        blocks = prompt.blocks
        if not blocks:
            return Match([], ends)
        levels: list[tuple[float, int]] = []
        holding = holders.get(blocks[0], 0)
        length = 0
        for block in blocks:
            still = holding & holders.get(block, 0)
            if still != holding:
                levels.append((float(length), holding))
                holding = still
            if not holding:
                break
            length += 1
        if holding:
            levels.append((float(length), holding))
        return Match(levels, ends)

    def pressures(self, numbers: Sequence[int], size: float, matched: Sequence[float], now_s: float) -> list[float]:
        """Say how dear room is at endpoints, in 1/s: one by the age of what would go for what is not held of `size`.

        0 where there is room for it.
        """
        found, share = [], self._share
        for number, own in zip(numbers, matched, strict=True):
            held = self._held.get(number)
            if held is None or not held.blocks or held.takes(size, own, share):
                found.append(0.0)
            else:
                found.append(1.0 / max(now_s - next(iter(held.blocks.values())), 1e-3))
        return found

    def sent(self, number: int, prompt: Prompt, now_s: float) -> None:
        """Take in that the endpoint has a prompt to compute; as many of its first blocks as have room are held."""
        held = self._held.get(number)
        if held is None:
            held = self._add(number, self._room)
        blocks, holders, mine, bit = prompt.blocks, self._holders, held.blocks, 1 << number
        room = min(held.room, self._share)
        if room <= len(blocks):
            blocks = blocks[:room]
        elif prompt.ends:
            blocks = (*blocks, prompt.ends[0][0])
        if held.slots is not None:
            for block in held.slots.take(prompt, blocks, room):
                if mine.pop(block, None) is not None:
                    self._drop(block, bit)
        for block in reversed(blocks):
            if block in mine:
                mine.move_to_end(block)
            else:
                holders[block] = holders.get(block, 0) | bit
            mine[block] = now_s
        self._shrink(number, held)

    def resized(self, number: int, room: int, slots: int = 0) -> None:
        """Take in how many blocks the endpoint's cache has room for, and in how many slots; 0 where it has none."""
        held = self._held.get(number)
        if held is None:
            held = self._add(number, _checked(room))
        held.room = _checked(room)
        if slots != (held.slots.count if held.slots else 0):
            held.slots = Slots(slots) if slots else None
            self._cut(number, held, 0)
        self._shrink(number, held)

    def forget(self, number: int) -> None:
        """Forget an endpoint that is gone, or has lost its cache."""
        held = self._held.pop(number, None)
        if held is not None:
            for block in held.blocks:
                self._drop(block, 1 << number)
            self._share = self._kept_share = self._total // max(len(self._held), 1)

    def _add(self, number: int, room: int) -> _Held:
        held = self._held[number] = _Held(room)
        self._share = self._total // len(self._held)
        if self._share < _SHRUNK * self._kept_share:
            self._kept_share = self._share
            for each, others in self._held.items():
                self._shrink(each, others)
        return held

    def _shrink(self, number: int, held: _Held) -> None:
        self._cut(number, held, min(held.room, self._share))

    def _cut(self, number: int, held: _Held, room: int) -> None:
        while len(held.blocks) > room:
            block, _ = held.blocks.popitem(last=False)
            self._drop(block, 1 << number)

    def _drop(self, block: int, bit: int) -> None:
        left = self._holders[block] & ~bit
        if left:
            self._holders[block] = left
        else:
            del self._holders[block]


def _checked(room: int) -> int:
    if room < 0:
        raise CallerError(f"a cache cannot have room for {room} blocks")
    return room
