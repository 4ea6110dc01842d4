"""What a peer did, as far as whoever serves it must know."""

import msgspec

from argosy.edge.rpc.http2.frames import ErrorCode
from argosy.edge.rpc.http2.requests import Request


class RequestBegan(msgspec.Struct, frozen=True):
    """A stream was opened; `ended` when nothing comes after the head."""

    stream_id: int
    request: Request
    ended: bool


class DataCame(msgspec.Struct, frozen=True):
    """Bytes of a stream, possibly none; `ended` when they are the last, or trailers were."""

    stream_id: int
    data: bytes
    ended: bool


class StreamBroken(msgspec.Struct, frozen=True):
    """A stream is over before its time: the peer reset it, or broke the protocol on it, or took nothing for long."""

    stream_id: int
    code: ErrorCode | int


class ConnectionBroken(msgspec.Struct, frozen=True):
    """The peer broke the protocol: send what is to be sent, and close. Nothing comes after it."""

    code: ErrorCode
    why: str


Event = RequestBegan | DataCame | StreamBroken | ConnectionBroken
