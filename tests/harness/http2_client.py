"""HTTP/2 clients joined to a `ServerConnection` in memory: a well-behaved one, and one that sends what it likes."""

import random
import struct
from typing import Any, Protocol

import h2.config
import h2.connection
import h2.events
from hpack import Encoder

from argosy.edge.rpc.http2 import frames
from argosy.edge.rpc.http2.connection import ServerConnection
from argosy.edge.rpc.http2.events import ConnectionBroken, DataCame, Event, RequestBegan, StreamBroken
from argosy.edge.rpc.http2.frames import ErrorCode, Setting
from argosy.edge.rpc.http2.hpack import encoded
from argosy.edge.rpc.http2.limits import DEFAULT, Limits

REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/a/B"), (":authority", "x"), ("te", "trailers")]
HEAD = encoded([(b":status", b"200"), (b"content-type", b"application/grpc")])
TRAILERS = encoded([(b"grpc-status", b"0")])
BLOCK = Encoder().encode(REQUEST)


class Pair:
    """A client of the library h2, and our server; `exchange` carries bytes until nobody has any."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.server = ServerConnection(limits)
        self.now_s = 0.0
        self.seen: list[Any] = []
        self.client.initiate_connection()

    def to_server(self) -> list[Event]:
        """Carry what the client has to say."""
        return self.server.receive(self.client.data_to_send(), self.now_s)

    def to_client(self) -> list[Any]:
        """Carry what the server has to say."""
        said = self.server.take()
        events = self.client.receive_data(said) if said else []
        self.seen += events
        return events

    def exchange(self) -> list[Event]:
        """Carry until all is quiet; give what the server saw."""
        events: list[Event] = []
        while True:
            came = self.to_server()
            events += came
            if not self.to_client() and not came:
                return events

    def ask(self, *, end: bool = False) -> int:
        """Open a stream."""
        stream_id = self.client.get_next_available_stream_id()
        self.client.send_headers(stream_id, REQUEST, end_stream=end)
        return stream_id

    def received(self, stream_id: int) -> bytes:
        """Give the data that came back on a stream."""
        return b"".join(
            event.data
            for event in self.seen
            if isinstance(event, h2.events.DataReceived) and event.stream_id == stream_id
        )


def echo(connection: ServerConnection, events: list[Event]) -> None:
    """Serve: send what came back, and end when the peer ends."""
    for event in events:
        match event:
            case RequestBegan():
                connection.send_headers(event.stream_id, HEAD)
                if event.ended:
                    connection.end(event.stream_id, TRAILERS)
            case DataCame():
                connection.send_data(event.stream_id, event.data)
                if event.ended:
                    connection.end(event.stream_id, TRAILERS)
            case StreamBroken() | ConnectionBroken():
                pass


class Speech(Protocol):
    """What is said within frames."""

    def request(self) -> list[tuple[str, str]]:
        """Give the head of a request."""

    def data(self, stream_id: int) -> bytes:
        """Give what is said next on a stream."""


class Gibberish:
    """Requests of nobody's service, and data that means nothing."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def request(self) -> list[tuple[str, str]]:
        return REQUEST

    def data(self, _stream_id: int) -> bytes:
        return b"d" * self._rng.choice((0, 1, 5, 100, 16_384))


class Mischief:
    """Makes frames: right ones, almost right ones and wrong ones, on streams that are open as often as not."""

    def __init__(self, rng: random.Random, strange_share: float, speech: Speech | None = None) -> None:
        self._rng = rng
        self._strange_share = strange_share
        """How often a frame is about a stream that is not open."""
        self._speech = speech or Gibberish(rng)
        self.has_cut = False
        """Whether a frame was cut short, so that nobody can tell where the next one begins."""
        self._encoder = Encoder()
        self._next = 1
        self._open: list[int] = []
        self._makers = (
            *(self._begin, self._begin, self._data, self._data, self._data, self._end, self._reset),
            *(self._window, self._settings, self._ping, self._split, self._trailers, self._priority, self._padded),
        )
        self._wrong = (self._any, self._cut, self._goaway, self._bad_block, self._bad_settings)

    def begin(self, *, politely: bool) -> bytes:
        """Give the first bytes of a connection; not `politely`: of any kind."""
        window = self._rng.choice((0, 5, 65_535, 2**31 - 1))
        first = frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: window})
        if politely or self._rng.random() < 0.5:
            return first
        self.has_cut = True
        return first[: self._rng.randrange(len(first))] + self._any()

    def opening(self) -> bytes:
        """Open a few streams, and begin to speak on them."""
        begun = (self._begin() + self._data_on(self._open[-1]) for _ in range(self._rng.randrange(1, 5)))
        return b"".join(begun)

    def frame(self, wrong_share: float) -> bytes:
        """Give a frame, or a few that belong together."""
        makers = self._wrong if self._rng.random() < wrong_share else self._makers
        return self._rng.choice(makers)()

    def _stream(self) -> int:
        if not self._open or self._rng.random() < self._strange_share:
            return self._rng.choice((0, 1, 2, 3, self._next, self._next + 7, 2**31 - 1))
        return self._rng.choice(self._open)

    def _headers(self) -> bytes:
        more = [(f"x-{self._rng.randrange(40)}", "v" * self._rng.choice((0, 3, 200)))] * self._rng.randrange(3)
        return bytes(self._encoder.encode([*self._speech.request(), *more]))

    def _opened(self) -> int:
        stream_id, self._next = self._next, self._next + 2
        self._open.append(stream_id)
        del self._open[:-50]
        return stream_id

    def _begin(self) -> bytes:
        flags = frames.END_HEADERS | self._rng.choice((0, 0, 0, frames.END_STREAM))
        return frames.frame(frames.HEADERS, flags, self._opened(), self._headers())

    def _split(self) -> bytes:
        block, stream_id = self._headers(), self._opened()
        at = self._rng.randrange(len(block) + 1)
        first = frames.frame(frames.HEADERS, 0, stream_id, block[:at])
        return first + frames.frame(frames.CONTINUATION, frames.END_HEADERS, stream_id, block[at:])

    def _data(self) -> bytes:
        return self._data_on(self._stream())

    def _data_on(self, stream_id: int) -> bytes:
        data = self._speech.data(stream_id)
        size = self._rng.choice((frames.SMALLEST_MAX_FRAME, len(data) // 2 + 1))
        pieces = (data[at : at + size] for at in range(0, max(len(data), 1), size))
        return b"".join(frames.frame(frames.DATA, 0, stream_id, piece) for piece in pieces)

    def _padded(self) -> bytes:
        padding = self._rng.randrange(15)
        return frames.frame(frames.DATA, frames.PADDED, self._stream(), bytes((padding,)) + b"d" * 15)

    def _end(self) -> bytes:
        return frames.frame(frames.DATA, frames.END_STREAM, self._stream(), b"e")

    def _trailers(self) -> bytes:
        flags = frames.END_HEADERS | frames.END_STREAM
        return frames.frame(frames.HEADERS, flags, self._stream() | 1, bytes(self._encoder.encode([("x", "y")])))

    def _reset(self) -> bytes:
        return frames.rst_stream(self._stream(), ErrorCode.CANCEL)

    def _window(self) -> bytes:
        stream_id = self._rng.choice((0, self._stream()))
        return frames.window_update(stream_id, self._rng.choice((1, 100, 16_384, 65_535)))

    def _settings(self) -> bytes:
        window = self._rng.choice((0, 1, 100, 65_535, 1_000_000))
        return frames.settings({Setting.INITIAL_WINDOW_SIZE: window, Setting.HEADER_TABLE_SIZE: 100})

    def _ping(self) -> bytes:
        return frames.frame(frames.PING, self._rng.choice((0, frames.ACK)), 0, b"12345678")

    def _priority(self) -> bytes:
        return frames.frame(frames.PRIORITY, 0, self._stream() | 1, b"\0\0\0\0\1")

    def _any(self) -> bytes:
        rng = self._rng
        payload = rng.randbytes(rng.choice((0, 1, 4, 5, 8, 9, 30)))
        return frames.frame(rng.randrange(14), rng.randrange(256), self._stream(), payload)

    def _cut(self) -> bytes:
        self.has_cut = True
        whole = self._rng.choice(self._makers)()
        return whole[: self._rng.randrange(len(whole))]

    def _goaway(self) -> bytes:
        return frames.goaway(self._stream(), ErrorCode.INTERNAL_ERROR, "so")

    def _bad_block(self) -> bytes:
        return frames.frame(frames.HEADERS, frames.END_HEADERS, self._opened(), self._rng.randbytes(8))

    def _bad_settings(self) -> bytes:
        values = struct.pack(">HL", self._rng.randrange(9), self._rng.randrange(2**32))
        return frames.frame(frames.SETTINGS, 0, self._rng.choice((0, 0, 1)), values)


class Tally:
    """What a run of the fuzzer came to."""

    def __init__(self) -> None:
        self.frames = self.sequences = self.past_settings = self.with_streams = self.broken = self.most_held = 0


SMALL = Limits(streams=40, queue_bytes=200_000, idle_frames=2_000, resets=200)
BOUND_BYTES = SMALL.queue_bytes + SMALL.header_bytes + 4096 + frames.SMALLEST_MAX_FRAME + frames.HEADER_BYTES
MOST_FRAMES = 200


def torment(seed: int, tally: Tally, healthy: Pair) -> None:
    """Run one sequence of frames against a connection of its own, and beside it one request of the healthy one."""
    rng = random.Random(seed)
    is_deep = rng.random() < 0.7
    mischief, server = Mischief(rng, 0.002 if is_deep else 0.1), ServerConnection(SMALL)
    data = mischief.begin(politely=is_deep)
    wrong_share = 0.01 if is_deep else 0.2
    if is_deep:
        data += mischief.opening()
    had_streams, now_s = False, 0.0
    for _ in range(rng.randrange(1, MOST_FRAMES)):
        tally.frames += 1
        echo(server, server.receive(data, now_s))
        had_streams = had_streams or server.streams > 0
        server.take()
        now_s += rng.choice((0.0, 0.001))
        tally.most_held = max(tally.most_held, server.held_bytes)
        assert server.held_bytes <= BOUND_BYTES, seed
        assert server.streams <= SMALL.streams, seed
        if server.failed:
            assert server.streams == 0, seed
            assert server.receive(b"more", now_s) == [], seed
            break
        data = mischief.frame(wrong_share)
        if rng.random() < 0.1:
            at = rng.randrange(len(data) + 1)
            echo(server, server.receive(data[:at], now_s))
            data = data[at:]
    server.break_stalled(now_s + 1, 0.0)
    tally.sequences += 1
    tally.past_settings += server.is_introduced
    tally.with_streams += had_streams
    tally.broken += server.failed
    serve_one(healthy, rng.randbytes(rng.choice((1, 100, 70_000))))


def serve_one(pair: Pair, body: bytes) -> None:
    """Ask once and see that the body comes back whole."""
    stream_id = pair.ask()
    pair.to_server()
    sent = 0
    pair.server.send_headers(stream_id, HEAD)
    while True:
        window = min(pair.client.local_flow_control_window(stream_id), pair.client.max_outbound_frame_size)
        piece = body[sent : sent + window]
        if piece:
            pair.client.send_data(stream_id, piece, end_stream=sent + len(piece) == len(body))
            sent += len(piece)
        for event in pair.to_server():
            if isinstance(event, DataCame):
                pair.server.send_data(event.stream_id, event.data)
                if event.ended:
                    pair.server.end(event.stream_id, TRAILERS)
        events = pair.to_client()
        for event in events:
            if isinstance(event, h2.events.DataReceived):
                pair.client.acknowledge_received_data(event.flow_controlled_length, stream_id)
        if any(isinstance(event, h2.events.StreamEnded) for event in events):
            break
    assert pair.received(stream_id) == body
    pair.seen.clear()
