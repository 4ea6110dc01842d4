"""What the two ends of a transfer say to each other.

    fetcher → sender    MAGIC, version (1 byte), ticket (TICKET_BYTES of ASCII)
    sender → fetcher    MAGIC, version (1 byte), length of the header (4 bytes, big-endian), header
    fetcher → sender    WANTED (1 byte), unless it can take the state's file from the same memory
    sender → fetcher    state
    fetcher → sender    ACKNOWLEDGED (1 byte), once it has the whole state and finds it right

A header of no bytes says that the ticket is unknown: never issued, fetched already, or expired. A connection serves one
transfer. What header and state are is not known here.
"""

import struct
from typing import Final

from argosy.base.errors import PeerError
from argosy.engines.moved import NotMoved

MAGIC: Final = b"argosykv"
VERSION: Final = 1
TICKET_BYTES: Final = 32
"""A ticket is that many hexadecimal digits."""
WANTED: Final = b"\x05"
ACKNOWLEDGED: Final = b"\x06"
_PREAMBLE: Final = struct.Struct(f"!{len(MAGIC)}sB")
_LENGTH: Final = struct.Struct("!I")

REQUEST_BYTES: Final = _PREAMBLE.size + TICKET_BYTES
REPLY_BYTES: Final = _PREAMBLE.size + _LENGTH.size


class TransferError(PeerError):
    """A transfer did not come to its end; the text says why, and `why` in a word."""

    def __init__(self, text: str, why: NotMoved = "cut_off") -> None:
        super().__init__(text)
        self.why = why


def request(ticket: str) -> bytes:
    """Give what a fetcher says first."""
    return _PREAMBLE.pack(MAGIC, VERSION) + ticket.encode()


def ticket_of(said: bytes) -> str:
    """Give the ticket of a whole request. Raises TransferError."""
    _check(said)
    try:
        return said[_PREAMBLE.size :].decode("ascii")
    except UnicodeDecodeError:
        raise TransferError("the ticket is not ASCII") from None


def reply(header: bytes) -> bytes:
    """Give what stands before a state; nothing as the header says that there is none."""
    return _PREAMBLE.pack(MAGIC, VERSION) + _LENGTH.pack(len(header)) + header


def header_bytes(said: bytes) -> int:
    """Give the length of the header that follows a whole reply. Raises TransferError."""
    _check(said)
    return int(_LENGTH.unpack_from(said, _PREAMBLE.size)[0])


def _check(said: bytes) -> None:
    magic, version = _PREAMBLE.unpack_from(said)
    if magic != MAGIC:
        raise TransferError(f"the other side speaks another protocol: {said[:8]!r}", "differs")
    if version != VERSION:
        raise TransferError(f"the other side speaks version {version}, this one {VERSION}", "differs")
