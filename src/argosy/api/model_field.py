r"""The field `model` of bodies: another name put in its place, and not one byte changed besides.

Rules of this file:

- In a request it is the top-level field, wherever it stands and however it is spelled. Its place is what the decoder
  found, never a search: the same bytes may stand in a prompt's objects, too.
- In an answer it is the first of each document's top-level field and that of its `response` or `message` (in events of
  OpenAI's responses and of Anthropic's messages). What an engine quotes from its model is deeper, or within a string.
  What comes behind the field is not read.
- An answer comes in pieces that are cut anywhere. Nothing of them is held back: what is replaced is dropped as it
  comes.
- An answer that is no JSON passes as it is, or loses a text that looks like the field; it is never cut off.

Sources: RFC 8259; WHATWG HTML, server-sent events (fields, ends of lines); OpenAI's and Anthropic's API references.
"""

import ctypes
import enum
import re
from typing import Final

import msgspec


class _Named(msgspec.Struct):
    model: msgspec.Raw


_NAMED: Final = msgspec.json.Decoder(_Named)


def with_model(body: bytes, model: str) -> bytes:
    """Give the body of a request with another model; it is one that `openai.BodyReader` has read."""
    value = memoryview(_NAMED.decode(body).model)
    begin = _address(value) - _address(body)
    whole = memoryview(body)
    return b"".join((whole[:begin], msgspec.json.encode(model), whole[begin + len(value) :]))


class _Buffer(ctypes.Structure):
    """Python's `Py_buffer`."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


def _address(content: bytes | memoryview) -> int:
    """Give where bytes lie in memory: a `Raw` is a part of the body, and no other way tells which."""
    view = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(content), ctypes.byref(view), 0)
    try:
        return int(view.buf or 0)
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))


_STRING: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
"""What is left of a string, up to its end, the piece's, or a backslash that is the piece's last byte."""
_UNSEEN: Final = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
"""Up to the next bracket, or a string that does not end in this piece."""
_SCALARS: Final = re.compile(rb'[^"{}\[\],:]*+')
_OTHER_FIELDS: Final = re.compile(
    rb'(?:\s*+"(?!model")[^"\\]*+"\s*+:\s*+(?:"(?:[^"\\]++|\\.)*+"|[^"{}\[\],:]++),)*+', re.DOTALL
)
"""Whole fields of plain keys and values, which are passed over at once."""
_LINE_END: Final = re.compile(rb"[\r\n]")
_QUOTE, _BACKSLASH, _COLON, _COMMA = b'"\\:,'
_OPENING: Final = frozenset(b"{[")
_FIELD: Final = b"model"
_ENVELOPES: Final = frozenset((b"response", b"message"))
_LONGEST_KEY: Final = 64


class _In(enum.Enum):
    """The string that is being read."""

    NONE = enum.auto()
    KEY = enum.auto()
    MODEL = enum.auto()
    OTHER = enum.auto()


EVENTS: Final = b"data:"
JSON_LINES: Final = b""


class AnswerNaming:
    """Names another model in an answer while it passes, piece by piece.

    The answer is one document, or `lines`, of which those that begin so have a document each.
    """

    def __init__(self, model: str, lines: bytes | None = None) -> None:
        self._name = msgspec.json.encode(model)
        self._lines = lines
        self._line = b""
        self._begin_document()
        self._out: list[bytes] = []
        self._kept = 0

    def take(self, piece: bytes) -> bytes:
        """Give what a piece becomes: the very same bytes where it names no model."""
        self._out, self._kept = [], 0
        if self._lines is None:
            self._read(piece, 0, len(piece))
        else:
            self._read_lines(piece, self._lines)
        if self._in is _In.MODEL:
            self._kept = len(piece)
        if not self._out and not self._kept:
            return piece
        return b"".join((*self._out, piece[self._kept :]))

    def _read_lines(self, piece: bytes, beginning: bytes) -> None:
        at = 0
        while at < len(piece):
            found = _LINE_END.search(piece, at)
            end = len(piece) if found is None else found.start()
            if len(self._line) < len(beginning):
                begun = piece[at : min(end, at + len(beginning) - len(self._line))]
                self._line += begun
                at += len(begun)
            if self._line == beginning:
                self._read(piece, at, end)
            if found is not None:
                if self._in is _In.MODEL:
                    self._kept = end
                self._line = b""
                self._begin_document()
            at = end + 1

    def _begin_document(self) -> None:
        self._depth = 0
        self._in = _In.NONE
        self._is_named = False
        self._is_escaped = False
        self._has_fields = [False, False, False]
        """Whether the container at this depth, up to 2, is one whose fields are looked at."""
        self._key = b""
        self._is_value = False

    def _read(self, piece: bytes, at: int, end: int) -> None:
        while at < end and not self._is_named:
            if self._in is not _In.NONE:
                at = self._read_string(piece, at, end)
                continue
            seen = self._depth < len(self._has_fields) and self._has_fields[self._depth]
            if seen and not self._is_value:
                at = _past(_OTHER_FIELDS, piece, at, end)
            at = _past(_SCALARS if seen else _UNSEEN, piece, at, end)
            if at < end:
                self._turn(piece, at, seen=seen)
                at += 1

    def _turn(self, piece: bytes, at: int, *, seen: bool) -> None:
        """Take note of the byte that something begins or ends with."""
        byte = piece[at]
        if byte == _QUOTE:
            self._begin_string(piece, at, seen=seen)
        elif byte in _OPENING:
            self._open(seen=seen)
        elif byte == _COLON:
            self._is_value = True
        elif byte == _COMMA:
            self._is_value = False
        elif self._depth:
            self._depth -= 1

    def _begin_string(self, piece: bytes, at: int, *, seen: bool) -> None:
        if not seen:
            self._in = _In.OTHER
        elif not self._is_value:
            self._in, self._key = _In.KEY, b""
        elif self._key == _FIELD:
            self._in = _In.MODEL
            self._out += (piece[self._kept : at], self._name)
        else:
            self._in = _In.OTHER

    def _open(self, *, seen: bool) -> None:
        self._depth += 1
        if self._depth < len(self._has_fields):
            # What has no fields, as it is an array, has no colons either.
            is_envelope = seen and self._is_value and self._key in _ENVELOPES
            self._has_fields[self._depth] = self._depth == 1 or is_envelope
        self._is_value = False

    def _read_string(self, piece: bytes, at: int, end: int) -> int:
        begin = at
        if self._is_escaped:
            self._is_escaped = False
            at += 1
        at = _past(_STRING, piece, at, end)
        if self._in is _In.KEY and len(self._key) <= _LONGEST_KEY:
            self._key += piece[begin : min(at, begin + _LONGEST_KEY + 1)]
        if at == end:
            return end
        if piece[at] == _BACKSLASH:
            self._is_escaped = True
            if self._in is _In.KEY:
                self._key += b"\\"
            return end
        if self._in is _In.MODEL:
            self._kept, self._is_named = at + 1, True
        elif self._in is _In.KEY and b"\\" in self._key:
            self._key = _spelled(self._key)
        self._in = _In.NONE
        return at + 1


def _past(pattern: re.Pattern[bytes], piece: bytes, at: int, end: int) -> int:
    found = pattern.match(piece, at, end)
    return at if found is None else found.end()


def _spelled(key: bytes) -> bytes:
    try:
        return msgspec.json.decode(b'"%b"' % key, type=str).encode()
    except (msgspec.DecodeError, UnicodeEncodeError):
        return key
