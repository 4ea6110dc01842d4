"""A state says what it is, and is used only where that is right."""

import struct
from array import array

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.apps.engine.kv_header import (
    Header,
    Identity,
    StateError,
    check_header,
    decode_header,
    encode_header,
    header_limit_bytes,
    state_preface_bytes,
    state_tokens,
)

OWN = Identity(weights="a" * 32, quantization="q4_1", adapter="", kv_type="f16", slots=4, build="1")
CONTEXT = 64
LIMIT = 1_000_000
TOKENS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=CONTEXT).map(lambda ids: array("i", ids).tobytes())


def _state(tokens: bytes, rest: bytes = b"", version: int = 4, media: int = 0) -> bytes:
    """The beginning of a state as llama.cpp writes it."""
    count = len(tokens) // 4
    return struct.pack("<4sIIiii", b"qsgg", version, count + 4, -1, 1, count) + tokens + struct.pack("<i", media) + rest


def _header(tokens: bytes) -> Header:
    return Header(identity=OWN, tokens=tokens, state_bytes=LIMIT, checksum=bytes(16), folder="argosy-kv-x")


def _check(header: Header) -> None:
    check_header(header, OWN, context_tokens=CONTEXT, limit_bytes=LIMIT)


@given(TOKENS)
def test_a_header_arrives_as_it_was_sent_and_fits_into_its_limit(tokens: bytes) -> None:
    sent = encode_header(_header(tokens))
    assert decode_header(sent) == _header(tokens)
    assert len(sent) <= header_limit_bytes(CONTEXT)
    _check(decode_header(sent))


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_a_header_or_an_error(data: bytes) -> None:
    try:
        decode_header(data)
    except StateError:
        return


@given(TOKENS, st.data())
def test_a_header_with_a_changed_byte_is_never_the_same(tokens: bytes, data: st.DataObject) -> None:
    sent = bytearray(encode_header(_header(tokens)))
    at = data.draw(st.integers(0, len(sent) - 1))
    sent[at] ^= data.draw(st.integers(1, 255))
    try:
        assert decode_header(bytes(sent)) != _header(tokens)
    except StateError:
        return


@pytest.mark.parametrize("field", Identity.__struct_fields__)
def test_a_state_with_another_identity_is_refused_with_the_field_that_differs(field: str) -> None:
    identity = msgspec.structs.replace(OWN, **{field: "other"})
    with pytest.raises(StateError, match=f"{field} differs: 'other' there"):
        _check(msgspec.structs.replace(_header(bytes(4)), identity=identity))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"tokens": b""}, "0 bytes of tokens"),
        ({"tokens": bytes(7)}, "7 bytes of tokens"),
        ({"tokens": bytes(4 * CONTEXT + 4)}, "the context here has 64"),
        ({"state_bytes": LIMIT + 1}, "up to 1000000"),
        ({"state_bytes": state_preface_bytes(1) - 1}, "up to 1000000"),
        ({"state_bytes": -1}, "up to 1000000"),
    ],
)
def test_sizes_that_the_context_cannot_need_are_refused(changed: dict[str, object], why: str) -> None:
    with pytest.raises(StateError, match=why):
        _check(msgspec.structs.replace(_header(bytes(4)), **changed))


@given(TOKENS, st.binary(max_size=100))
def test_a_state_names_its_tokens_whatever_follows(tokens: bytes, rest: bytes) -> None:
    state = _state(tokens, rest)
    assert state_tokens(state) == tokens
    assert state_tokens(state[: state_preface_bytes(len(tokens) // 4)]) == tokens


@given(TOKENS, st.data())
def test_a_beginning_that_is_cut_off_is_an_error(tokens: bytes, data: st.DataObject) -> None:
    state = _state(tokens)
    with pytest.raises(StateError):
        state_tokens(state[: data.draw(st.integers(0, len(state) - 1))])


@pytest.mark.parametrize(
    "state",
    [b"GGUF" + _state(bytes(4))[4:], _state(bytes(4), version=5), _state(bytes(4), media=1), _state(b"")],
    ids=["another file", "another version", "an image", "no tokens"],
)
def test_what_llama_cpp_does_not_write_for_text_is_an_error(state: bytes) -> None:
    with pytest.raises(StateError):
        state_tokens(state)
