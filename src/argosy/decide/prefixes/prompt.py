"""A prompt as a chain of block hashes: what two prompts share at their beginnings is what their chains share.

Rules of this file:

- Text is hashed as it came in the body, in blocks of `BLOCK_BYTES`: a client that goes on with a conversation writes
  its beginning as it wrote it before.
- The chain begins with a key (model, adapter, cache salt): the same text under another key is another prompt, for its
  cached state is of no use there.
- Each part (a message) ends somewhere within a block. A prompt that goes on after that end has the same hash there, so
  short conversations match to the byte; the latest `ENDS` ends of a prompt are looked for.

Source: vLLM, automatic prefix caching (chained block hashes with extra keys).
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from xxhash import xxh3_64_intdigest

BLOCK_BYTES: Final = 1024
BYTES_PER_TOKEN: Final = 4.0
"""Of English text, about."""
ENDS: Final = 5
MAX_BLOCKS: Final = 4096
"""Blocks of one prompt that are hashed: 4 MiB of text."""


class Prompt(msgspec.Struct, frozen=True, gc=False):
    """A prompt. `size` is its length in blocks, the last one in part.

    `ends` are hashes of where its parts end within a block, the latest first, each with its length in blocks; the first
    is the end of the prompt itself, unless a block ends there.
    """

    blocks: tuple[int, ...] = ()
    ends: tuple[tuple[int, float], ...] = ()
    size: float = 0.0


NO_PROMPT: Final = Prompt()


def prompt_of(parts: Sequence[bytes | memoryview | msgspec.Raw], key: bytes) -> Prompt:
    """Hash the parts of a prompt, in their order."""
    text = b"".join(parts)
    if not text:
        return NO_PROMPT
    seed = xxh3_64_intdigest(key)
    digest, view = xxh3_64_intdigest, memoryview(text)
    blocks: list[int] = []
    at, whole = 0, min(len(text) // BLOCK_BYTES, MAX_BLOCKS) * BLOCK_BYTES
    chained = seed
    while at < whole:
        chained = digest(view[at : at + BLOCK_BYTES], chained)
        blocks.append(chained)
        at += BLOCK_BYTES
    ends: list[tuple[int, float]] = []
    end = len(text)
    for part in reversed(parts[-ENDS:]):
        number, within = divmod(end, BLOCK_BYTES)
        if within and number <= len(blocks):
            before = blocks[number - 1] if number else seed
            # Another seed than a block's, so that no end is ever taken for a block.
            ends.append((digest(view[end - within : end], before ^ 1), end / BLOCK_BYTES))
        end -= len(memoryview(part))
    return Prompt(tuple(blocks), tuple(ends), len(text) / BLOCK_BYTES)
