"""What the slots of an engine hold that keeps one sequence in each, as llama.cpp does.

Rules of this file:

- A state machine without time: chains of prompts in, blocks that are gone out.
- A prompt takes the slot that holds the longest beginning of it, if that is more than `SIMILAR` of it; else one that
  was never used, else the one that was used longest ago. What that slot held beside it is gone.
- Memory is bounded: what all slots hold together by `room`, the slots used longest ago going first.

Source: llama.cpp, `slot_prompt_similarity` of its server; our own server chooses by the same rule.
"""

from collections import Counter, OrderedDict

from argosy.decide.prefixes.prompt import Prompt
from argosy.engines.llama_cpp import SIMILAR


class Slots:
    """The slots of one endpoint."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._chains: OrderedDict[int, tuple[int, ...]] = OrderedDict()
        """What each slot holds by the number of its last prompt; used longest ago first."""
        self._uses: Counter[int] = Counter()
        self._last = 0
        self._size = 0

    @property
    def full(self) -> bool:
        """Whether every slot holds something."""
        return len(self._chains) >= self.count

    def take(self, prompt: Prompt, chain: tuple[int, ...], room: int) -> list[int]:
        """Take in that a prompt was sent, whose first blocks and end are `chain`; give the blocks that are gone."""
        if not chain:
            return []
        gone: list[int] = []
        self._last += 1
        self._chains[self._last] = chain
        self._uses.update(chain)
        self._size += len(chain)
        slot = self._slot(prompt)
        if slot is not None:
            gone += self._clear(slot)
        while self._size > room:
            gone += self._clear(next(iter(self._chains)))
        return gone

    def _slot(self, prompt: Prompt) -> int | None:
        """Give the slot that the latest prompt takes; None for one that was never used."""
        most, found = SIMILAR * prompt.size, None
        for number, chain in self._chains.items():
            if number != self._last and (held := _held(chain, prompt)) > most:
                most, found = held, number
        if found is None and len(self._chains) > self.count:
            return next(iter(self._chains))
        return found

    def _clear(self, number: int) -> list[int]:
        chain = self._chains.pop(number)
        self._size -= len(chain)
        self._uses.subtract(chain)
        gone = [block for block in chain if not self._uses[block]]
        for block in gone:
            del self._uses[block]
        return gone


def _held(chain: tuple[int, ...], prompt: Prompt) -> float:
    """Give how many blocks of a prompt a chain begins with: equal hashes mean that all before is equal."""
    for end, length in prompt.ends:
        if end == chain[-1]:
            return length
    low, high = 0, min(len(chain), len(prompt.blocks))
    while low < high:
        middle = (low + high + 1) // 2
        if chain[middle - 1] == prompt.blocks[middle - 1]:
            low = middle
        else:
            high = middle - 1
    return float(low)
