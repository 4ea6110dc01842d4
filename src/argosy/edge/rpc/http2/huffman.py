"""Huffman codes of header strings (RFC 7541 §5.2 and appendix B): decoded four bits at a time.

The code is canonical: symbols in order of length, then of value, have consecutive codes. So lengths say everything.
"""

from typing import Final

_LENGTHS: Final = (
    "13 23 28x7 24 30 28x2 30 28x8 30 28x9 6 10x2 12 13 6 8 11 10x2 8 11 8 6x3 5x3 6x7 7 8 15 6 12 10 13 6 "
    "7x22 8 7 8 13 19 13 14 6 15 5 6 5 6 5 6x3 5 7x2 6x3 5 6 7 6 5x2 6 7x5 15 11 14 13 28 20 22 20x2 22x3 23 "
    "22 23x5 24 23 24x2 22 23 24 23x4 21 22 23 22 23x2 24 22 21 20 22x2 23x2 21 23 22x2 24 21 22 23x2 21x2 22 "
    "21 23 22 23x2 20 22x3 23 22x2 23 26x2 20 19 22 23 22 25 26x3 27x2 26 24 25 19 21 26 27x2 26 27 24 21x2 "
    "26x2 28 27x3 20 24 20 21 22 21x2 23 22x2 25x2 24x2 26 23 26 27 26x2 27x5 28 27x5 26 30 "
)
"""The lengths in bits of the codes of symbols 0 to 256, with repetitions as `length x times`."""
END: Final = 256

_ByBits = dict[tuple[int, int], int]
"""Something by length and bits of a code, or of its beginning."""
_Step = tuple[int, bytes, bool]
"""What four bits lead to: the next node, what they complete, and whether a string may end there."""


class BadHuffman(ValueError):  # noqa: N818 (named for what it is)
    """Bytes that are no string in this code."""


def _codes() -> _ByBits:
    """Give symbols by length and code."""
    lengths: list[int] = []
    for word in _LENGTHS.split():
        bits, _, times = word.partition("x")
        lengths += [int(bits)] * int(times or 1)
    codes: _ByBits = {}
    code = before = 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths)):
        code = code + 1 << length - before if codes else 0
        codes[length, code], before = symbol, length
    return codes


def _steps() -> list[tuple[_Step | None, ...]]:
    """Give, for each inner node of the tree, where each of sixteen nibbles leads; None where no string goes on."""
    codes = _codes()
    nodes = {(0, 0): 0}
    for length, code in codes:
        for short in range(1, length):
            nodes.setdefault((short, code >> length - short), len(nodes))
    # A string is filled up with ones, fewer than eight: a node may be its end if it is so many ones from the root.
    ends = {nodes[length, 2**length - 1] for length in range(8)}
    return [tuple(_step(codes, nodes, ends, at, nibble) for nibble in range(16)) for at in nodes]


def _step(codes: _ByBits, nodes: _ByBits, ends: set[int], at: tuple[int, int], nibble: int) -> _Step | None:
    length, code = at
    out = b""
    for shift in (3, 2, 1, 0):
        length, code = length + 1, code << 1 | nibble >> shift & 1
        symbol = codes.get((length, code))
        if symbol == END:
            return None
        if symbol is not None:
            out += bytes((symbol,))
            length = code = 0
    node = nodes[length, code]
    return node, out, node in ends


_STEPS: Final = _steps()


def decode(data: bytes) -> bytes:
    """Give the string. Raises `BadHuffman` for the end symbol inside, and for padding that is not a few ones."""
    node, may_end, out = 0, True, []
    for byte in data:
        for nibble in (byte >> 4, byte & 15):
            step = _STEPS[node][nibble]
            if step is None:
                raise BadHuffman("the end of a string inside it")
            node, piece, may_end = step
            if piece:
                out.append(piece)
    if not may_end:
        raise BadHuffman("padding that is too long or not of ones")
    return b"".join(out)
