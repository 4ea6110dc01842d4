"""Header compression (RFC 7541): whatever a peer sends is decoded, and our few headers are written as literals.

Rules of this file:

- Decoding a block may change the dynamic table, and every block must be decoded, also one that nobody will look at:
  else the two sides disagree about all later ones.
- A list that is too large is decoded to its end and not kept: small blocks can name large entries many times.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from argosy.edge.rpc.http2.frames import ConnectionFault, ErrorCode
from argosy.edge.rpc.http2.huffman import BadHuffman
from argosy.edge.rpc.http2.huffman import decode as huffman_decoded
from argosy.edge.rpc.http2.static_table import STATIC

Header = tuple[bytes, bytes]
TABLE_BYTES: Final = 4096
"""The dynamic table that we offer: the default of HTTP/2."""
ENTRY_BYTES: Final = 32
"""What an entry counts beside its name and value."""
_LARGEST_INTEGER_BYTES: Final = 5
_INDEXES: Final = {entry: index for index, entry in reversed(list(enumerate(STATIC, 1)))}
_NAMES: Final = {entry[0]: index for index, entry in reversed(list(enumerate(STATIC, 1)))}


class Decoder:
    """The receiving side of a connection's header compression."""

    __slots__ = ("_bytes", "_limit", "_list_bytes", "_table", "changes")

    def __init__(self, max_list_bytes: int) -> None:
        self.changes = 0
        """Counts changes of the dynamic table: between two, equal blocks mean the same."""
        self._table: deque[Header] = deque()
        self._bytes = 0
        self._limit = TABLE_BYTES
        self._list_bytes = max_list_bytes

    @property
    def held_bytes(self) -> int:
        """The size of the dynamic table, as the protocol counts it."""
        return self._bytes

    def decode(self, block: bytes) -> tuple[Header, ...] | None:
        """Give the headers of a block, None when they are more than are taken. Raises `ConnectionFault`."""
        try:
            return self._decode(block)
        except IndexError as error:
            raise _fault("a header block that breaks off") from error
        except BadHuffman as error:
            raise _fault(f"a header string with {error}") from error

    def _decode(self, block: bytes) -> tuple[Header, ...] | None:
        headers: list[Header] = []
        at, size, listed = 0, len(block), 0
        while at < size:
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 0x7F)
                header = self._entry(index)
            elif first & 0xE0 == 0x20:
                if headers or listed:
                    raise _fault("a change of the table's size behind headers")
                limit, at = _integer(block, at, 0x1F)
                self._resize(limit)
                continue
            else:
                header, at = self._literal(block, at, 0x3F if first & 0x40 else 0x0F)
                if first & 0x40:
                    self._add(header)
            listed += len(header[0]) + len(header[1]) + ENTRY_BYTES
            if listed <= self._list_bytes:
                headers.append(header)
        return tuple(headers) if listed <= self._list_bytes else None

    def _literal(self, block: bytes, at: int, mask: int) -> tuple[Header, int]:
        index, at = _integer(block, at, mask)
        if index:
            name = self._entry(index)[0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        return (name, value), at

    def _entry(self, index: int) -> Header:
        if 0 < index <= len(STATIC):
            return STATIC[index - 1]
        if 0 < index <= len(STATIC) + len(self._table):
            return self._table[index - len(STATIC) - 1]
        raise _fault(f"a header with index {index}, which nobody has")

    def _add(self, header: Header) -> None:
        self.changes += 1
        self._table.appendleft(header)
        self._bytes += len(header[0]) + len(header[1]) + ENTRY_BYTES
        self._evict()

    def _resize(self, limit: int) -> None:
        if limit > TABLE_BYTES:
            raise _fault(f"a table of {limit} bytes, more than were offered")
        self.changes += 1
        self._limit = limit
        self._evict()

    def _evict(self) -> None:
        while self._bytes > self._limit:
            name, value = self._table.pop()
            self._bytes -= len(name) + len(value) + ENTRY_BYTES


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for place in range(_LARGEST_INTEGER_BYTES):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at
    raise _fault("an integer that is too large")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    is_huffman = block[at] & 0x80
    length, begin = _integer(block, at, 0x7F)
    end = begin + length
    if end > len(block):
        raise _fault("a header block that breaks off")
    string = block[begin:end]
    return (huffman_decoded(string) if is_huffman else string), end


def _fault(why: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.COMPRESSION_ERROR, why)


def encoded(headers: Iterable[Header]) -> bytes:
    """Give a header block that neither needs nor changes a dynamic table; names are lower case."""
    block = bytearray()
    for name, value in headers:
        index = _INDEXES.get((name, value))
        if index is not None:
            block.append(0x80 | index)
            continue
        named = _NAMES.get(name)
        _append_integer(block, named or 0, 0x0F, 0)
        if named is None:
            _append_string(block, name)
        _append_string(block, value)
    return bytes(block)


def _append_string(block: bytearray, string: bytes) -> None:
    _append_integer(block, len(string), 0x7F, 0)
    block += string


def _append_integer(block: bytearray, value: int, mask: int, flags: int) -> None:
    if value < mask:
        block.append(flags | value)
        return
    block.append(flags | mask)
    value -= mask
    while value >= 0x80:
        block.append(0x80 | value & 0x7F)
        value >>= 7
    block.append(value)
