"""The sans-IO connection of our own transport: what is bounded in time and size, and what a mistake of ours costs."""

import logging
from collections.abc import Sequence

import h2.errors
import h2.events
import h2.settings
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from argosy.edge.rpc.ext_proc import Message, Reply
from argosy.edge.rpc.ext_proc_connection import PROCESS, ExtProcConnection
from argosy.edge.rpc.holding import DEFAULT, Holding
from argosy.edge.rpc.http2.grpc import MessageReader, Status, framed
from argosy.edge.rpc.http2.limits import DEFAULT as LIMITS
from argosy.edge.rpc.http2.limits import Limits
from contracts.transport_contract import DUPLEX_HEADERS, HEADERS, Script
from harness.http2_client import REQUEST

BODY = pb.ProcessingRequest(request_body=pb.HttpBody(body=b"x", end_of_stream=True))
HEAD = [*(header for header in REQUEST if header[0] != ":path"), ("content-type", "application/grpc")]


class Clumsy(Script):
    """A session with a mistake in it."""

    def receive(self, message: Message) -> Sequence[Reply]:
        raise KeyError(message)


class Wire:
    """A client of the library h2 and our connection."""

    def __init__(
        self,
        *sessions: Script,
        holding: Holding | None = None,
        window: int = 65_535,
        limits: Limits = LIMITS,
    ) -> None:
        self.holding = holding or Holding()
        waiting = iter(sessions)
        self.server = ExtProcConnection(
            lambda _holding, _traceparent, _say: next(waiting), lambda: True, holding=self.holding, limits=limits
        )
        self.client = h2.connection.H2Connection()
        self.client.local_settings = h2.settings.Settings(
            initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
        )
        self.client.initiate_connection()
        self.status: dict[int, int] = {}
        self.heard: dict[int, bytes] = {}
        self.takes = True
        """Whether it gives window for what it has read."""
        self.carry(0.0)

    def open(self, path: str = PROCESS) -> int:
        stream_id = self.client.get_next_available_stream_id()
        self.client.send_headers(stream_id, [(":path", path), *HEAD])
        self.heard[stream_id] = b""
        return stream_id

    def say(self, stream_id: int, data: bytes) -> None:
        """Send as much at a time as the windows allow."""
        while data:
            self.carry(0.0)
            size = min(self.client.local_flow_control_window(stream_id), self.client.max_outbound_frame_size)
            assert size > 0, "no window"
            self.client.send_data(stream_id, data[:size])
            data = data[size:]
        self.carry(0.0)

    def replies(self, stream_id: int) -> list[pb.ProcessingResponse]:
        """Give what was replied, as far as it has been read."""
        whole = MessageReader(2**26).messages(self.heard[stream_id])
        return [pb.ProcessingResponse.FromString(message) for message in whole]

    def carry(self, now_s: float) -> int:
        """Carry what both have to say; give how many writes the server made."""
        writes = 0
        while data := self.client.data_to_send():
            self.server.receive(data, now_s)
            writes += self.hear()
        return writes

    def hear(self) -> int:
        said = self.server.take()
        for event in self.client.receive_data(said) if said else ():
            match event:
                case h2.events.TrailersReceived() | h2.events.ResponseReceived():
                    headers = dict(event.headers)
                    if b"grpc-status" in headers:
                        self.status[event.stream_id] = int(headers[b"grpc-status"])
                case h2.events.DataReceived():
                    self.heard[event.stream_id] += event.data
                    if self.takes:
                        self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamReset():
                    self.status.setdefault(event.stream_id, -int(event.error_code))
                case _:
                    pass
        return bool(said)


def message(value: pb.ProcessingRequest) -> bytes:
    return framed(value.SerializeToString())


def chunk(body: bytes, *, end_of_stream: bool = False) -> pb.ProcessingRequest:
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=body, end_of_stream=end_of_stream))


def test_what_one_read_leads_to_is_one_write() -> None:
    wire = Wire(Script())
    stream_id = wire.open()
    wire.client.send_data(stream_id, message(HEADERS) + message(BODY), end_stream=True)
    assert wire.carry(0.0) == 1
    assert wire.status == {stream_id: Status.OK}


def test_a_request_that_is_not_decided_in_time_ends() -> None:
    late, decided = Script(), Script()
    wire = Wire(late, decided)
    first, second = wire.open(), wire.open()
    wire.client.send_data(first, message(HEADERS))
    wire.client.send_data(second, message(HEADERS) + message(BODY))
    wire.carry(0.0)
    wire.server.give_up(DEFAULT.unfinished_s)
    assert wire.server.streams == 2
    wire.server.give_up(DEFAULT.unfinished_s + 1)
    wire.hear()
    assert wire.status == {first: Status.DEADLINE_EXCEEDED}
    assert (late.closed, decided.closed, wire.server.streams) == (1, 0, 1)


def test_a_message_that_stays_unfinished_ends_its_stream_though_it_is_decided() -> None:
    wire = Wire(Script())
    stream_id = wire.open()
    wire.client.send_data(stream_id, message(HEADERS) + message(BODY))
    wire.carry(0.0)
    idle = wire.holding.held_bytes
    wire.client.send_data(stream_id, message(BODY)[:-1])
    wire.carry(1000.0)
    assert wire.holding.held_bytes > idle
    wire.server.give_up(1000.0 + DEFAULT.unfinished_s)
    assert wire.server.streams == 1
    wire.server.give_up(1001.0 + DEFAULT.unfinished_s)
    assert (wire.server.streams, wire.holding.held_bytes) == (0, idle)


def test_unfinished_messages_of_all_connections_are_bounded_together() -> None:
    holding = Holding(9000)
    wires = [Wire(*(Script() for _ in range(2)), holding=holding) for _ in range(2)]
    streams = [(wire, wire.open()) for wire in wires for _ in range(2)]
    for wire, stream_id in streams:
        wire.client.send_data(stream_id, framed(b"x" * 9000)[:3000])
        wire.carry(0.0)
    assert [wire.status for wire in wires] == [{}, {streams[3][1]: Status.RESOURCE_EXHAUSTED}]
    held = holding.held_bytes
    assert held >= 9000
    wires[0].server.lose()
    assert holding.held_bytes <= held - 6000


def test_what_peers_leave_lying_is_bounded_for_all_connections() -> None:
    holding = Holding(200_000)
    scripts = [Script(), Script()]
    wires = [Wire(script, holding=holding) for script in scripts]
    ids = [wire.open() for wire in wires]
    part = message(pb.ProcessingRequest(response_body=pb.HttpBody(body=b"x" * 30_000)))
    for wire, stream_id in zip(wires, ids, strict=True):
        wire.takes = False
        for _ in range(8):
            if not wire.status:
                wire.say(stream_id, part)
    assert holding.held_bytes <= 225_000
    assert [wire.status for wire in wires] == [{}, {ids[1]: -h2.errors.ErrorCodes.ENHANCE_YOUR_CALM}]
    assert [script.closed for script in scripts] == [0, 1]
    for wire in wires:
        wire.server.lose()
    assert holding.held_bytes == 0


@pytest.mark.parametrize("theirs", [65_535, 2**20])
@pytest.mark.parametrize("ours", [65_535, 2**20])
def test_a_body_that_goes_back_in_chunks_keeps_within_the_windows_of_both_sides(theirs: int, ours: int) -> None:
    limits = Limits(stream_window=ours, connection_window=max(ours, 65_535))
    wire = Wire(Script(), window=theirs, limits=limits)
    stream_id = wire.open()
    body = bytes(number % 251 for number in range(1_000_000))
    wire.say(stream_id, message(DUPLEX_HEADERS))
    for at in range(0, len(body), 60_000):
        wire.say(stream_id, message(chunk(body[at : at + 60_000], end_of_stream=at + 60_000 >= len(body))))
    first, *rest = wire.replies(stream_id)
    assert first.HasField("request_headers")
    assert b"".join(reply.request_body.response.body_mutation.streamed_response.body for reply in rest) == body
    wire.client.end_stream(stream_id)
    wire.carry(0.0)
    assert wire.status == {stream_id: Status.OK}
    assert wire.holding.held_bytes < 10_000


def test_a_peer_that_does_not_take_a_body_back_is_broken_off_in_time_and_nothing_is_held() -> None:
    script = Script()
    wire = Wire(script)
    wire.takes = False
    stream_id = wire.open()
    wire.say(stream_id, message(DUPLEX_HEADERS))
    wire.say(stream_id, message(chunk(b"x" * 500_000, end_of_stream=True)))
    assert wire.holding.held_bytes > 400_000
    wire.server.give_up(DEFAULT.unfinished_s + 1)
    wire.hear()
    assert wire.status == {stream_id: -h2.errors.ErrorCodes.ENHANCE_YOUR_CALM}
    assert script.closed == 1
    assert wire.holding.held_bytes < 10_000


def test_a_message_that_is_too_large_ends_its_stream_before_it_comes() -> None:
    wire = Wire(Script())
    stream_id = wire.open()
    wire.client.send_data(stream_id, b"\0\xff\xff\xff\xff")
    wire.carry(0.0)
    assert wire.status == {stream_id: Status.RESOURCE_EXHAUSTED}


def test_a_compressed_message_ends_its_stream() -> None:
    wire = Wire(Script())
    stream_id = wire.open()
    wire.client.send_data(stream_id, b"\1" + message(HEADERS)[1:])
    wire.carry(0.0)
    assert wire.status == {stream_id: Status.UNIMPLEMENTED}


def test_a_mistake_of_ours_ends_its_stream_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    clumsy, other = Clumsy(), Script()
    wire = Wire(clumsy, other)
    first, second = wire.open(), wire.open()
    for stream_id in (first, second):
        wire.client.send_data(stream_id, message(HEADERS))
    wire.carry(0.0)
    assert wire.status == {first: Status.INTERNAL}
    assert (clumsy.closed, other.closed) == (1, 0)


def test_a_connection_that_breaks_closes_every_session_once() -> None:
    scripts = [Script(), Script()]
    wire = Wire(*scripts)
    wire.open()
    wire.open()
    wire.carry(0.0)
    wire.server.receive(b"\xff" * 100, 0.0)
    wire.server.lose()
    assert [script.closed for script in scripts] == [1, 1]
    assert wire.server.over
