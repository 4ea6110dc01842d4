"""What a fuzzer says on ext_proc streams: what Envoy would, mostly; else what is nearly that, or nothing like it."""

import json
import random
from collections.abc import Callable
from typing import Any, Final

from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from argosy.edge.rpc.ext_proc_connection import CHECK, PROCESS
from argosy.edge.rpc.http2.grpc import framed

HEADERS: Final = [(":method", "POST"), (":scheme", "http"), (":authority", "x")]
GRPC: Final = [("te", "trailers"), ("content-type", "application/grpc")]
_CHUNKS: Final = pb.ProtocolConfiguration(
    request_body_mode=ProcessingMode.FULL_DUPLEX_STREAMED, response_body_mode=ProcessingMode.FULL_DUPLEX_STREAMED
)


def _headers(*, end_of_stream: bool = False, **more: str) -> Any:
    values = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "argosy", **more}
    header_map = HeaderMap(headers=[HeaderValue(key=name, raw_value=said.encode()) for name, said in values.items()])
    return pb.HttpHeaders(headers=header_map, end_of_stream=end_of_stream)


def _said(config: Any = None, **fields: Any) -> bytes:
    return framed(pb.ProcessingRequest(**fields, protocol_config=config).SerializeToString())


def _body(body: bytes, *, end_of_stream: bool = True) -> bytes:
    return _said(request_body=pb.HttpBody(body=body, end_of_stream=end_of_stream))


def _chat(content: str, **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **more}).encode()


def _answer(status: str = "200") -> list[bytes]:
    response = _headers(**{":status": status})
    return [_said(response_headers=response), _said(response_trailers=pb.HttpTrailers())]


_LONG: Final = _chat("word " * 20_000)
_BUFFERED: Final = [
    [_said(request_headers=_headers()), _body(_chat("Hello")), *_answer()],
    [_said(request_headers=_headers(**{"x-session-id": "s", "x-argosy-explain": "1"})), _body(_chat("Hi")), *_answer()],
    [_said(request_headers=_headers()), _body(_LONG), *_answer("503")],
    [_said(request_headers=_headers()), _body(b'{"model": "\\ud800", "messages": [{"content": "\\udfff"}]}')],
    [_said(request_headers=_headers(**{"content-length": "9" * 5000})), _body(b"{")],
    [_said(request_headers=_headers()), _body(_chat("x", model="nobody's"))],
    [_said(request_headers=_headers()), *_answer("9" * 5000)],
    [_said(request_headers=_headers(end_of_stream=True, **{":path": "/v1/models", ":method": "GET"}))],
]
_IN_CHUNKS: Final = [
    [
        _said(_CHUNKS, request_headers=_headers()),
        *(_body(_LONG[at : at + 40_000], end_of_stream=at + 40_000 >= len(_LONG)) for at in range(0, 120_000, 40_000)),
        _said(response_headers=_headers(**{":status": "200"})),
        *[_said(response_body=pb.HttpBody(body=b"data: x\n\n" * 500))] * 3,
        _said(response_body=pb.HttpBody(body=b"", end_of_stream=True)),
    ],
    [
        _said(_CHUNKS, request_headers=_headers()),
        _body(_chat("Hello"), end_of_stream=False),
        _said(request_trailers=pb.HttpTrailers()),
        *_answer(),
    ],
]
DIALOGUES: Final = _BUFFERED * 2 + _IN_CHUNKS
_MESSAGES: Final = [message for dialogue in DIALOGUES for message in dialogue]


class Envoyish:
    """Speaks on the streams of one connection."""

    def __init__(self, rng: random.Random, false_share: float) -> None:
        self._rng = rng
        self._false_share = false_share
        """How often something is said that Envoy would not say."""
        self._left: dict[int, list[bytes]] = {}
        self._false: tuple[Callable[[], bytes], ...] = (self._out_of_place, self._mutated, self._cut, self._noise)

    def request(self) -> list[tuple[str, str]]:
        """Open a stream for ext_proc, mostly."""
        path = self._rng.choices((PROCESS, CHECK, "/a/B"), (30, 1, 1))[0]
        return [*HEADERS, (":path", path), *(GRPC if self._rng.random() > 0.02 else ())]

    def data(self, stream_id: int) -> bytes:
        """Go on with what a stream is about."""
        left = self._left.get(stream_id)
        if left is None:
            left = self._left[stream_id] = list(self._rng.choice(DIALOGUES))
        if left and self._rng.random() >= self._false_share:
            return left.pop(0)
        return self._rng.choice(self._false)()

    def _out_of_place(self) -> bytes:
        return self._rng.choice(_MESSAGES)

    def _mutated(self) -> bytes:
        changed = bytearray(self._rng.choice(_MESSAGES))
        for _ in range(self._rng.randrange(1, 5)):
            changed[self._rng.randrange(min(len(changed), 200))] = self._rng.randrange(256)
        return bytes(changed)

    def _cut(self) -> bytes:
        whole = self._rng.choice(_MESSAGES)
        return whole[: self._rng.randrange(len(whole))]

    def _noise(self) -> bytes:
        return self._rng.randbytes(self._rng.choice((0, 1, 4, 5, 6, 100)))
