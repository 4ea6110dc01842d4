"""The few messages that every request has, between protobuf and values by hand: generated classes copy bodies thrice.

Rules of this file:

- What is not of the expected form gives None, and is for the generated classes to read.
- Bytes that the generated classes take are read as they read them; property tests hold both to it.

Source: protobuf.dev/programming-guides/encoding.
"""

from typing import Final

LARGE_BYTES: Final = 4096
"""Below it the generated classes are faster, copies and all."""
REQUEST_BODY: Final = 4
RESPONSE_BODY: Final = 5
_LENGTH_DELIMITED: Final = 2
_SHORT: Final = tuple(bytes((number,)) for number in range(0x80))
_LONGEST_VARINT: Final = 5
# metadata_context, attributes and protocol_config of a ProcessingRequest, none of which is looked at beside a body.
_PASSED_OVER: Final = frozenset(number << 3 | _LENGTH_DELIMITED for number in (8, 9, 11))
_BODIES: Final = {number << 3 | _LENGTH_DELIMITED: number for number in (REQUEST_BODY, RESPONSE_BODY)}
_BODY: Final = 0x0A
_END_OF_STREAM: Final = 0x10


def varint(number: int) -> bytes:
    """Write a number that is not negative."""
    if number < 0x80:
        return _SHORT[number]
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def field(number: int, *parts: bytes) -> bytes:
    """Write a field of bytes, text or a message, whose number is below 16."""
    content = parts[0] if len(parts) == 1 else b"".join(parts)
    return _SHORT[number << 3 | _LENGTH_DELIMITED] + varint(len(content)) + content


def body_of(message: memoryview) -> tuple[int, bytes, bool] | None:
    """Read a ProcessingRequest that is about a body: the number of its field, the body, and whether it is the last."""
    number = _BODIES.get(message[0]) if message else None
    if number is None:
        return None
    try:
        size, begin = _varint_at(message, 1)
        found = _http_body(message, begin, begin + size)
        return (number, *found) if found and _is_passed_over(message, begin + size) else None
    except (IndexError, OverflowError):
        return None


def _http_body(message: memoryview, at: int, end: int) -> tuple[bytes, bool] | None:
    body, is_last = b"", False
    while at < end:
        tag = message[at]
        number, at = _varint_at(message, at + 1)
        if tag == _BODY:
            body = bytes(message[at : at + number])
            at += number
        elif tag == _END_OF_STREAM:
            is_last = number != 0
        else:
            return None
    return (body, is_last) if at == end <= len(message) else None


def _is_passed_over(message: memoryview, at: int) -> bool:
    while at < len(message):
        if message[at] not in _PASSED_OVER:
            return False
        size, at = _varint_at(message, at + 1)
        at += size
    return at == len(message)


def _varint_at(message: memoryview, at: int) -> tuple[int, int]:
    """Read a number and give what comes behind it. Raises `IndexError` at the end, `OverflowError` for a long one."""
    number = message[at]
    if number < 0x80:
        return number, at + 1
    number &= 0x7F
    for place in range(1, _LONGEST_VARINT):
        part = message[at + place]
        number |= (part & 0x7F) << 7 * place
        if part < 0x80:
            return number, at + place + 1
    raise OverflowError
