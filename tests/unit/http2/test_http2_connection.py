"""The server's side of HTTP/2, joined to another implementation's client in memory, and given frames by hand."""

import struct

import h2.events
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.base.errors import CallerError
from argosy.edge.rpc.http2 import frames
from argosy.edge.rpc.http2.connection import UNREAD_BYTES, ServerConnection
from argosy.edge.rpc.http2.events import ConnectionBroken, DataCame, RequestBegan, StreamBroken
from argosy.edge.rpc.http2.frames import ErrorCode, Setting
from argosy.edge.rpc.http2.hpack import TABLE_BYTES
from argosy.edge.rpc.http2.limits import Limits
from harness.http2_client import BLOCK, BOUND_BYTES, HEAD, TRAILERS, Pair, Tally, serve_one, torment

BEGIN = frames.PREFACE + frames.settings({})
OPEN = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, BLOCK)


def frame(kind: int, stream_id: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return frames.frame(kind, flags, stream_id, payload)


def frames_of(data: bytes) -> list[tuple[int, int, int, bytes]]:
    return list(frames.FrameReader().frames(data))


def opened(limits: Limits | None = None) -> ServerConnection:
    """Give a connection with stream 1 open."""
    connection = ServerConnection(limits or Limits())
    connection.receive(BEGIN + OPEN, 0.0)
    connection.take()
    assert connection.streams == 1
    return connection


def test_a_request_and_its_answer_pass_and_the_stream_is_over() -> None:
    pair = Pair()
    stream_id = pair.ask()
    pair.client.send_data(stream_id, b"question", end_stream=True)
    began, came = pair.exchange()
    assert isinstance(began, RequestBegan)
    assert (began.request.method, began.request.path, began.ended) == ("POST", "/a/B", False)
    assert came == DataCame(stream_id, b"question", True)
    pair.server.send_headers(stream_id, HEAD)
    assert pair.server.send_data(stream_id, b"answer")
    pair.server.end(stream_id, TRAILERS)
    pair.exchange()
    assert pair.received(stream_id) == b"answer"
    assert {type(event) for event in pair.seen} >= {h2.events.TrailersReceived, h2.events.StreamEnded}
    assert pair.server.streams == 0
    assert not pair.server.send_data(stream_id, b"late")


def test_an_answer_that_ends_before_its_request_ends_the_stream_without_an_error() -> None:
    pair = Pair()
    stream_id = pair.ask()
    pair.exchange()
    pair.server.send_headers(stream_id, HEAD)
    pair.server.end(stream_id, TRAILERS)
    written = frames_of(pair.server.take())
    assert written[-1] == (frames.RST_STREAM, 0, stream_id, struct.pack(">L", ErrorCode.NO_ERROR))
    assert pair.server.streams == 0


@given(st.data())
def test_bytes_mean_the_same_however_they_are_cut(data: st.DataObject) -> None:
    whole = BEGIN + OPEN + frame(frames.DATA, 1, b"x" * 300) + frame(frames.DATA, 1, b"y", frames.END_STREAM)
    one, other = ServerConnection(), ServerConnection()
    expected = one.receive(whole, 0.0)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert [event for piece in pieces for event in other.receive(piece, 0.0)] == expected
    assert other.take() == one.take()


@given(
    initial=st.integers(0, 70_000),
    later=st.integers(0, 70_000),
    grants=st.lists(st.integers(1, 70_000), min_size=1, max_size=20),
    sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=8),
)
def test_no_more_is_sent_than_the_windows_allow_and_nothing_is_lost(
    initial: int, later: int, grants: list[int], sizes: list[int]
) -> None:
    connection = ServerConnection()
    connection.receive(frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: initial}) + OPEN, 0.0)
    idle_bytes = connection.held_bytes
    body = b"".join(bytes((number,)) * size for number, size in enumerate(sizes))
    at, allowed, got = 0, initial, b""
    for size in sizes:
        connection.send_data(1, body[at : at + size])
        at += size
    connection.end(1, TRAILERS)
    steps = [frames.settings({Setting.INITIAL_WINDOW_SIZE: later}), *(frames.window_update(1, each) for each in grants)]
    gains = [later - initial, *grants]
    ended = False
    for step, gain in zip([b"", *steps, frames.window_update(1, 400_000)], [0, *gains, 400_000], strict=True):
        connection.receive(step + frames.window_update(0, 100_000), 0.0)
        allowed += gain
        before = len(got)
        for kind, flags, _, payload in frames_of(connection.take()):
            if kind == frames.DATA:
                got += payload
            ended = ended or (kind == frames.HEADERS and bool(flags & frames.END_STREAM))
        assert len(got) - before <= max(0, allowed - before)
        assert connection.held_bytes - idle_bytes == len(body) - len(got)
    assert (got, ended) == (body, True)


@pytest.mark.parametrize("window", [65_535, 1_048_576])
def test_a_megabyte_passes_both_ways_through_small_windows(window: int) -> None:
    pair = Pair(Limits(stream_window=window))
    pair.client.update_settings({4: window})
    pair.exchange()
    serve_one(pair, bytes(range(256)) * 4096)
    assert pair.server.streams == 0


def test_streams_share_the_connections_window_by_turns() -> None:
    connection = ServerConnection()
    second = frame(frames.HEADERS, 3, BLOCK, frames.END_HEADERS)
    connection.receive(frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**20}) + OPEN + second, 0.0)
    for stream_id in (1, 3):
        connection.send_data(stream_id, b"x" * 500_000)
    connection.take()
    connection.receive(frames.window_update(0, 400_000), 0.0)
    sent = {1: 0, 3: 0}
    for kind, _, stream_id, payload in frames_of(connection.take()):
        if kind == frames.DATA:
            sent[stream_id] += len(payload)
    assert abs(sent[1] - sent[3]) <= 70_000


def test_who_does_not_read_may_not_write() -> None:
    connection = ServerConnection()
    connection.receive(frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 0}) + OPEN, 0.0)
    connection.take()
    idle_bytes, sent = connection.held_bytes, 0
    while not connection.failed and sent < 4 * 2**20:
        events = connection.receive(frame(frames.DATA, 1, b"x" * 16_384), 0.0)
        if any(isinstance(event, StreamBroken) for event in events):
            break
        sent += 16_384
        connection.send_data(1, b"x" * 16_384)
    assert sent <= 2 * 2**20, "credit ends with what waits"
    assert connection.held_bytes == idle_bytes, "the stream that was sent more than it had credit for is over"


def test_credit_comes_back_once_the_peer_reads() -> None:
    connection = ServerConnection()
    connection.receive(frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 0}) + OPEN, 0.0)
    connection.send_data(1, b"x" * (UNREAD_BYTES + 1))
    for _ in range(40):
        connection.receive(frame(frames.DATA, 1, b"x" * 16_000), 0.0)
    assert not any(kind == frames.WINDOW_UPDATE and on == 1 for kind, _, on, _ in frames_of(connection.take()))
    connection.receive(frames.window_update(1, UNREAD_BYTES + 1) + frames.window_update(0, UNREAD_BYTES), 0.0)
    connection.receive(frame(frames.DATA, 1, b"x"), 0.0)
    assert any(kind == frames.WINDOW_UPDATE and on == 1 for kind, _, on, _ in frames_of(connection.take()))


def test_what_waits_for_a_peer_is_bounded_and_not_for_ever() -> None:
    connection = opened(Limits(queue_bytes=100_000))
    connection.receive(frame(frames.HEADERS, 3, BLOCK, frames.END_HEADERS), 5.0)
    assert connection.send_data(1, b"x" * 70_000)
    assert not connection.send_data(3, b"x" * 110_000)
    assert connection.held_bytes < 100_000
    connection.receive(b"", 9.0)
    assert connection.break_stalled(9.0, 5.0) == []
    assert connection.break_stalled(10.1, 5.0) == [StreamBroken(1, ErrorCode.ENHANCE_YOUR_CALM)]
    assert connection.streams == 0
    assert connection.held_bytes <= TABLE_BYTES


def test_what_is_sent_without_a_read_before_it_waits_from_then_on() -> None:
    connection = opened()
    connection.receive(b"", 1.0)
    connection.break_stalled(100.0, 5.0)
    connection.send_data(1, b"x" * 70_000)
    assert connection.break_stalled(104.0, 5.0) == []
    assert connection.break_stalled(105.1, 5.0) == [StreamBroken(1, ErrorCode.ENHANCE_YOUR_CALM)]


def test_a_drain_takes_what_is_on_its_way_and_refuses_what_comes_after() -> None:
    connection = opened()
    connection.drain()
    farewell = frames_of(connection.take())
    assert [kind for kind, *_ in farewell] == [frames.GOAWAY, frames.PING]
    assert farewell[0][3] == frames.goaway(2**31 - 1, ErrorCode.NO_ERROR)[9:]
    again = frame(frames.HEADERS, 3, BLOCK, frames.END_HEADERS)
    assert any(isinstance(event, RequestBegan) for event in connection.receive(again, 0.0))
    connection.receive(frame(frames.PING, 0, farewell[1][3], frames.ACK), 0.0)
    assert frames_of(connection.take()) == frames_of(frames.goaway(3, ErrorCode.NO_ERROR))
    assert not connection.drained
    assert connection.receive(frame(frames.HEADERS, 5, BLOCK, frames.END_HEADERS), 0.0) == []
    assert frames_of(connection.take()) == frames_of(frames.rst_stream(5, ErrorCode.REFUSED_STREAM))
    for stream_id in (1, 3):
        connection.end(stream_id, TRAILERS)
    assert connection.drained


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(frames.DATA, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.DATA, 5, b"x"), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.DATA, 1, b"\x05abc", frames.PADDED), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.HEADERS, 2, BLOCK, frames.END_HEADERS), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.HEADERS, 3, b"\xff" * 9, frames.END_HEADERS), ErrorCode.COMPRESSION_ERROR),
        (frame(frames.HEADERS, 3, b"", frames.END_HEADERS | frames.WITH_PRIORITY), ErrorCode.FRAME_SIZE_ERROR),
        (frame(frames.HEADERS, 3, BLOCK) + frame(frames.PING, 0, b"12345678"), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.HEADERS, 3) + frame(frames.CONTINUATION, 3) * 100, ErrorCode.ENHANCE_YOUR_CALM),
        (frame(frames.HEADERS, 3) + frame(frames.CONTINUATION, 3, b"x" * 16_384) * 5, ErrorCode.ENHANCE_YOUR_CALM),
        (frame(frames.CONTINUATION, 1, b""), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.PRIORITY, 0, b"\0\0\0\0\1"), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.PRIORITY, 1, b""), ErrorCode.FRAME_SIZE_ERROR),
        (frame(frames.RST_STREAM, 3, b"\0\0\0\0"), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.RST_STREAM, 1, b"\0"), ErrorCode.FRAME_SIZE_ERROR),
        (frame(frames.SETTINGS, 1), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.SETTINGS, 0, b"abc"), ErrorCode.FRAME_SIZE_ERROR),
        (frame(frames.SETTINGS, 0, b"abcdef", frames.ACK), ErrorCode.FRAME_SIZE_ERROR),
        (frames.settings({Setting.ENABLE_PUSH: 2}), ErrorCode.PROTOCOL_ERROR),
        (frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
        (frames.settings({Setting.MAX_FRAME_SIZE: 5}), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.PUSH_PROMISE, 1, BLOCK), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.PING, 1, b"12345678"), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.PING, 0, b"1"), ErrorCode.FRAME_SIZE_ERROR),
        (frame(frames.GOAWAY, 0, b""), ErrorCode.PROTOCOL_ERROR),
        (frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
        (frames.window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (frame(frames.WINDOW_UPDATE, 0, b""), ErrorCode.FRAME_SIZE_ERROR),
        (frame(frames.DATA, 1, b"x" * 16_385), ErrorCode.FRAME_SIZE_ERROR),
        (frame(frames.PING, 0, b"12345678") * 30_000, ErrorCode.ENHANCE_YOUR_CALM),
        (frames.settings({}) * 30_000, ErrorCode.ENHANCE_YOUR_CALM),
        (frame(frames.DATA, 1) * 30_000, ErrorCode.ENHANCE_YOUR_CALM),
        (frame(77, 0) * 30_000, ErrorCode.ENHANCE_YOUR_CALM),
    ],
)
def test_what_breaks_the_protocol_ends_the_connection_with_its_code(data: bytes, code: ErrorCode) -> None:
    connection = opened()
    events = connection.receive(data, 0.0)
    assert isinstance(events[-1], ConnectionBroken)
    assert (events[-1].code, connection.streams, connection.failed) == (code, 0, True)
    last = frames_of(connection.take())[-1]
    assert (last[0], last[3][4:8]) == (frames.GOAWAY, struct.pack(">L", code))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frames.window_update(1, 0), ErrorCode.PROTOCOL_ERROR),
        (frames.window_update(1, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (frame(frames.HEADERS, 1, BLOCK, frames.END_HEADERS), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.DATA, 1, b"x", frames.END_STREAM) + frame(frames.DATA, 1, b"x"), ErrorCode.STREAM_CLOSED),
    ],
)
def test_what_breaks_a_stream_ends_it_alone(data: bytes, code: ErrorCode) -> None:
    connection = opened()
    connection.receive(frame(frames.HEADERS, 3, BLOCK, frames.END_HEADERS), 0.0)
    assert connection.receive(data, 0.0)[-1] == StreamBroken(1, code)
    assert frames_of(connection.take())[-1] == (frames.RST_STREAM, 0, 1, struct.pack(">L", code))
    assert connection.receive(frame(frames.DATA, 3, b"x"), 0.0) == [DataCame(3, b"x", False)]


def test_frames_of_a_stream_that_is_over_are_answered_and_harm_nothing() -> None:
    connection = opened()
    connection.receive(frames.rst_stream(1, ErrorCode.CANCEL), 0.0)
    late = frame(frames.DATA, 1, b"x") + frames.window_update(1, 5) + frames.rst_stream(1, ErrorCode.CANCEL)
    assert connection.receive(late, 0.0) == []
    assert frames_of(connection.take()) == frames_of(frames.rst_stream(1, ErrorCode.STREAM_CLOSED))
    assert not connection.failed


def test_streams_beyond_the_limit_are_refused_and_their_headers_still_count() -> None:
    pair = Pair(Limits(streams=2))
    for _ in range(3):
        pair.ask()
    pair.server.receive(pair.client.data_to_send(), 0.0)
    pair.to_client()
    refused = [event for event in pair.seen if isinstance(event, h2.events.StreamReset)]
    assert [(event.stream_id, event.error_code) for event in refused] == [(5, ErrorCode.REFUSED_STREAM)]
    pair.client.reset_stream(1)
    stream_id = pair.ask()
    assert [type(event) for event in pair.to_server()] == [StreamBroken, RequestBegan]
    assert stream_id == 7


def test_opening_and_resetting_without_end_ends_the_connection() -> None:
    connection = ServerConnection(Limits(resets=100))
    connection.receive(BEGIN, 0.0)
    for stream_id in range(1, 1001, 2):
        opening = frame(frames.HEADERS, stream_id, BLOCK, frames.END_HEADERS)
        connection.receive(opening + frames.rst_stream(stream_id, ErrorCode.CANCEL), 0.0)
    assert connection.failed


def test_a_peer_that_resets_what_has_been_answered_goes_on_for_ever() -> None:
    connection = ServerConnection(Limits(resets=100))
    connection.receive(BEGIN, 0.0)
    for stream_id in range(1, 2001, 2):
        connection.receive(frame(frames.HEADERS, stream_id, BLOCK, frames.END_HEADERS), 0.0)
        connection.send_headers(stream_id, HEAD)
        connection.receive(frames.rst_stream(stream_id, ErrorCode.CANCEL), 0.0)
    assert not connection.failed
    assert connection.streams == 0


def test_pings_for_days_are_answered() -> None:
    connection = opened(Limits(idle_frames=100))
    for second in range(0, 10_000, 5):
        connection.receive(frame(frames.PING, 0, b"12345678"), float(second))
    answers = frames_of(connection.take())
    assert len(answers) == 2000
    assert set(answers) == {(frames.PING, frames.ACK, 0, b"12345678")}


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", frames.PREFACE + OPEN, frames.PREFACE[:-1] + b"x"])
def test_who_does_not_begin_as_http2_does_is_sent_away(data: bytes) -> None:
    connection = ServerConnection()
    assert isinstance(connection.receive(data, 0.0)[-1], ConnectionBroken)


def test_headers_that_need_more_than_a_frame_are_a_mistake_of_ours() -> None:
    with pytest.raises(CallerError):
        opened().send_headers(1, b"x" * 20_000)


@given(st.integers(0, 2**32))
def test_no_sequence_of_frames_holds_more_than_the_bound_or_harms_another_connection(seed: int) -> None:
    healthy, tally = Pair(), Tally()
    for number in range(3):
        torment(seed + number, tally, healthy)
    assert tally.most_held <= BOUND_BYTES


def test_half_of_the_fuzzers_sequences_get_past_settings_with_streams_open() -> None:
    healthy, tally = Pair(), Tally()
    for seed in range(200):
        torment(seed, tally, healthy)
    assert tally.with_streams > tally.sequences / 2
    assert tally.broken > 20
