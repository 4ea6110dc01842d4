"""What stands before the state of a slot when it moves, and whether a state may be used here.

Rules of this file:
- A state is used only where everything that it depends on is equal: weights, quantization, adapter, numbers and
  slots of the cache, build of llama.cpp.
- The header names the tokens, and so does the state. Both must agree; llama.cpp then uses of the state what its own
  tokens of the prompt have in common with those, and computes the rest. So wrong tokens cost time, and no right text.

Source of a state's layout: llama.cpp, `llama_context::state_seq_save_file` and `server_tokens::serialize`.
"""

import struct
from typing import Final

import msgspec

from argosy.engines.moved import NotMoved

_STATE_MAGIC: Final = b"qsgg"
_STATE_VERSION: Final = 4
_PREFACE: Final = struct.Struct("<4sII")
_TEXT_ONLY: Final = (-1, 1)
"""Marks the list of tokens that follows; after it stand as many media as the last number says."""
_FRAME_NUMBERS: Final = len(_TEXT_ONLY) + 2
_NUMBER_BYTES: Final = 4
_NAMES_BYTES: Final = 4096


class StateError(Exception):
    """A state cannot be used; the text says why, and `why` in a word."""

    def __init__(self, text: str, why: NotMoved = "damaged") -> None:
        super().__init__(text)
        self.why = why


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """All that the numbers in a slot depend on besides the tokens."""

    weights: str
    """A digest of the file."""
    quantization: str
    adapter: str
    """A digest of its file; empty for the base model."""
    kv_type: str
    slots: int
    """How many there are: a state of one among four fits one among four."""
    build: str
    """llama.cpp's."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a state before it is sent."""

    identity: Identity
    tokens: bytes
    """32 bits each, little-endian: whose keys and values the state holds."""
    state_bytes: int
    checksum: bytes
    """xxh3-128 of the state."""
    folder: str = ""
    """Where the state's file is, beside the folder of whoever shares that memory; its name is the ticket."""

    @property
    def token_count(self) -> int:
        """How many tokens the state holds."""
        return len(self.tokens) // _NUMBER_BYTES


def encode_header(header: Header) -> bytes:
    """Give the header as it is sent."""
    return msgspec.msgpack.encode(header)


def decode_header(data: bytes) -> Header:
    """Read what `encode_header` wrote. Raises StateError."""
    try:
        return msgspec.msgpack.decode(data, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateError(f"the header cannot be read: {error}") from None


def header_limit_bytes(context_tokens: int) -> int:
    """Bytes of the largest header that a context can need."""
    return context_tokens * _NUMBER_BYTES + _NAMES_BYTES


def check_header(header: Header, own: Identity, *, context_tokens: int, limit_bytes: int) -> None:
    """Raise StateError for a state that must not be used here, or is larger than the context can need."""
    for field in Identity.__struct_fields__:
        theirs, ours = getattr(header.identity, field), getattr(own, field)
        if theirs != ours:
            raise StateError(f"{field} differs: {theirs!r:.64} there, {ours!r:.64} here", "differs")
    if not 0 < header.token_count <= context_tokens or len(header.tokens) % _NUMBER_BYTES:
        raise StateError(
            f"{len(header.tokens)} bytes of tokens; the context here has {context_tokens} tokens", "differs"
        )
    if not state_preface_bytes(header.token_count) <= header.state_bytes <= limit_bytes:
        raise StateError(f"it has {header.state_bytes} bytes; up to {limit_bytes} are expected", "differs")


def state_preface_bytes(token_count: int) -> int:
    """How many bytes of a state `state_tokens` reads."""
    return _PREFACE.size + _NUMBER_BYTES * (token_count + _FRAME_NUMBERS)


def state_tokens(state: bytes | memoryview) -> bytes:
    """Give the tokens that a state names, from its beginning. Raises StateError."""
    if len(state) < _PREFACE.size:
        raise StateError("the state has no beginning")
    magic, version, numbers = _PREFACE.unpack_from(state)
    if (magic, version) != (_STATE_MAGIC, _STATE_VERSION):
        raise StateError(f"the state begins with {magic!r}, version {version}")
    body = bytes(state[_PREFACE.size : _PREFACE.size + numbers * _NUMBER_BYTES])
    if numbers <= _FRAME_NUMBERS or len(body) < numbers * _NUMBER_BYTES:
        raise StateError(f"the state's beginning is short of {numbers} numbers")
    count = numbers - _FRAME_NUMBERS
    first = struct.unpack_from("<iii", body)
    (media,) = struct.unpack_from("<i", body, len(body) - _NUMBER_BYTES)
    if (*first, media) != (*_TEXT_ONLY, count, 0):
        raise StateError("the state holds something else than text")
    return body[12 : 12 + count * _NUMBER_BYTES]
