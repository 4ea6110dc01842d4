"""Header compression against another implementation of it, and against what nobody should send."""

import re

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from argosy.edge.rpc.http2 import huffman
from argosy.edge.rpc.http2.frames import ConnectionFault, StreamFault
from argosy.edge.rpc.http2.hpack import ENTRY_BYTES, TABLE_BYTES, Decoder, encoded
from argosy.edge.rpc.http2.requests import RequestReader

NAMES = st.sampled_from([b":path", b":method", b"te", b"x-a", b"x-b", b"accept-encoding", b"grpc-timeout"])
HEADERS = st.lists(st.tuples(NAMES | st.binary(min_size=1, max_size=40), st.binary(max_size=300)), max_size=12)
HEAD = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a/B"), (b"te", b"trailers")]


def _joined(pieces: list[bytes]) -> bytes:
    block = b"".join(pieces)
    return block if not re.search(rb"[\x80-\xff]{5}", block) else b""


@given(st.lists(st.tuples(HEADERS, st.booleans(), st.sampled_from([None, 0, 100, TABLE_BYTES]))))
def test_every_block_of_a_connection_is_read_as_it_was_written(
    blocks: list[tuple[list[tuple[bytes, bytes]], bool, int | None]],
) -> None:
    encoder, decoder = hpack.Encoder(), Decoder(2**20)
    for headers, is_huffman, table_bytes in blocks:
        if table_bytes is not None:
            encoder.header_table_size = table_bytes
        assert decoder.decode(encoder.encode(headers, huffman=is_huffman)) == tuple(headers)
        assert decoder.held_bytes <= TABLE_BYTES


@given(HEADERS)
def test_what_we_write_others_read(headers: list[tuple[bytes, bytes]]) -> None:
    read = hpack.Decoder().decode(encoded(headers), raw=True)
    assert [tuple(header) for header in read] == headers


@given(st.binary(max_size=200))
def test_a_string_in_huffmans_code_is_read(string: bytes) -> None:
    assert huffman.decode(HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(string)) == string


# The other reads integers of any length, we those of six bytes: so none of as many bytes that go on.
@given(st.lists(st.binary(max_size=5) | st.sampled_from([b"\x40", b"\x82", b"\x00", b"\x3f", b"\xbe"])).map(_joined))
def test_bytes_are_headers_for_both_implementations_or_for_none(block: bytes) -> None:
    theirs = hpack.Decoder()
    theirs.max_allowed_table_size = TABLE_BYTES
    try:
        expected = [tuple(header) for header in theirs.decode(block, raw=True)]
    except hpack.HPACKError:
        expected = None
    if expected is not None:
        assert list(Decoder(2**20).decode(block) or ()) == expected
        return
    with pytest.raises(ConnectionFault):
        Decoder(2**20).decode(block)


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"\x80", "index 0"),
        (b"\xff\xff\xff\xff\xff\xff\x7f", "too large"),
        (b"\xbe", "index 62"),
        (b"\x40\x05abc", "breaks off"),
        (b"\x40", "breaks off"),
        (b"\x00\x81\xff\x00", "string with"),
        (b"\x00\x84\xff\xff\xff\xff\x00", "string with"),
        (b"\x3f\xe2\x1f", "more than were offered"),
        (b"\x82\x20", "behind headers"),
    ],
)
def test_a_block_that_is_wrong_is_a_fault_of_the_connection(block: bytes, why: str) -> None:
    with pytest.raises(ConnectionFault, match=why):
        Decoder(2**20).decode(block)


def test_a_list_that_is_too_large_is_not_kept_and_the_next_block_is_read_right() -> None:
    encoder, decoder = hpack.Encoder(), Decoder(5000)
    large = [(b"x-large", b"v" * 3000)]
    assert decoder.decode(encoder.encode(large)) == tuple(large)
    assert decoder.decode(encoder.encode(large * 2)) is None
    assert decoder.decode(encoder.encode([*large, (b"x-b", b"1")])) == (*large, (b"x-b", b"1"))


def test_a_small_block_cannot_make_a_large_list() -> None:
    decoder = Decoder(64 * 1024)
    decoder.decode(encoded([]) + b"\x40\x01a\x7f" + bytes((3000 - 127 & 0x7F | 0x80, 3000 - 127 >> 7)) + b"v" * 3000)
    assert decoder.held_bytes == 1 + 3000 + ENTRY_BYTES
    assert decoder.decode(b"\xbe" * 10_000) is None


def test_equal_blocks_mean_the_same_until_the_table_changes() -> None:
    encoder, reader = hpack.Encoder(), RequestReader(64 * 1024)
    first = encoder.encode([*HEAD, (b"x-a", b"1")])
    again = encoder.encode([*HEAD, (b"x-a", b"1")])
    assert reader.request(first) == reader.request(again)
    assert reader.request(again) is reader.request(again)
    reader.request(encoder.encode([*HEAD, (b"x-b", b"2")]))
    with pytest.raises(StreamFault, match="malformed"):
        reader.request(again)  # its indexes mean other headers now


@pytest.mark.parametrize(
    "headers",
    [
        HEAD[1:],
        [HEAD[0], *HEAD],
        [*HEAD, (b":authority", b"late")],
        [*HEAD[:3], (b":status", b"200")],
        [*HEAD, (b"X-Upper", b"")],
        [*HEAD, (b"connection", b"close")],
        [*HEAD[:3], (b"te", b"gzip")],
        [HEAD[0], HEAD[1], (b":path", b"")],
    ],
)
def test_a_malformed_request_is_a_fault_of_its_stream(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(StreamFault, match="malformed"):
        RequestReader(64 * 1024).request(encoded(headers))
