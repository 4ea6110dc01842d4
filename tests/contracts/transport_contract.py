"""What every ext_proc transport does, asked by grpcio's client and by peers that break the protocol.

A subclass gives a fixture `serve`: a coroutine function that serves sessions at an address.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest
from envoy.config.core.v3.base_pb2 import HeaderMap
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from argosy.apps.picker.gathering import GatheredBody, Room, chunks_of
from argosy.base.errors import PeerError, UserError
from argosy.edge.rpc.ext_proc import (
    Answer,
    BodyChunk,
    BodyMode,
    Message,
    Phase,
    Proceed,
    Reply,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    Say,
    Server,
    Transport,
    Wait,
)
from argosy.edge.rpc.ext_proc_connection import PROCESS
from argosy.edge.rpc.health import PICKER_NAMES
from argosy.edge.rpc.holding import DEFAULT, Bounds, Holding
from argosy.edge.rpc.http2 import frames
from argosy.edge.rpc.http2.hpack import encoded
from harness.picker_process import Client, client_of
from harness.waiting import until

AT = "127.0.0.1:0"
HEADERS = pb.ProcessingRequest(request_headers=pb.HttpHeaders(headers=HeaderMap()))


DUPLEX_HEADERS = pb.ProcessingRequest(
    request_headers=HEADERS.request_headers,
    protocol_config=pb.ProtocolConfiguration(
        request_body_mode=ProcessingMode.FULL_DUPLEX_STREAMED, response_body_mode=ProcessingMode.FULL_DUPLEX_STREAMED
    ),
)


class Script:
    """A session: proceeds at headers, answers a body with its size, and keeps how often it was closed.

    A body that begins with `late` has no reply but what a test lets it `say`, `waiting` until then.
    A body in chunks is given back at its end, in chunks of 62,000 bytes behind the reply to the headers; a chunk of the
    answer is given back as it comes.
    """

    def __init__(self, holding: Holding | None = None, say: Say = lambda _replies: None) -> None:
        self.decided = False
        self.waiting = False
        self.closed = 0
        self._say = say
        self._is_duplex = False
        self._body = GatheredBody(holding or Holding())

    @property
    def settled(self) -> bool:
        return self.decided

    def receive(self, message: Message) -> Sequence[Reply]:
        match message:
            case RequestHeaders():
                self._is_duplex = message.body_mode is BodyMode.FULL_DUPLEX_STREAMED
                return () if self._is_duplex else (Proceed(phase=Phase.REQUEST_HEADERS),)
            case RequestBody(body=b"break"):
                raise PeerError("that has no place: 100 % ähnlich")
            case RequestBody() if message.body.startswith(b"late"):
                self.waiting = True
                return ()
            case RequestBody() if self._is_duplex:
                return self._gather(message)
            case RequestBody():
                self.decided = True
                return (Answer(status=200, body=b"%d" % len(message.body)),)
            case ResponseBody():
                return (BodyChunk(phase=Phase.RESPONSE_BODY, body=message.body, end_of_stream=message.end_of_stream),)
            case _:
                return (Proceed(phase=Phase.RESPONSE_TRAILERS),)

    def _gather(self, message: RequestBody) -> Sequence[Reply]:
        if self._body.add(message.body) is not Room.HELD:
            return (Answer(status=503, body=b""),)
        if not message.end_of_stream:
            return ()
        self.decided = True
        return (Proceed(phase=Phase.REQUEST_HEADERS), *chunks_of(self._body.take(), end_of_stream=True))

    def say(self, *replies: Reply) -> None:
        """Say something later; an answer decides."""
        if any(isinstance(reply, Answer) for reply in replies):
            self.decided, self.waiting = True, False
        self._say(replies)

    def close(self) -> None:
        self.closed += 1
        self._body.drop()


class Serving:
    """A transport that serves, its sessions, and whether it says that it is ready."""

    def __init__(self) -> None:
        self.sessions: list[Script] = []
        self.traceparents: list[str] = []
        self.ready = True
        self.server: Server | None = None
        self.holding = Holding()

    @property
    def address(self) -> str:
        assert self.server is not None
        return f"127.0.0.1:{self.server.port}"

    def open(self, holding: Holding, traceparent: str, say: Say) -> Script:
        self.holding = holding
        self.traceparents.append(traceparent)
        self.sessions.append(Script(holding, say))
        return self.sessions[-1]

    @property
    def closed(self) -> list[int]:
        return [session.closed for session in self.sessions]

    async def begin(self, transport: Transport, bounds: Bounds = DEFAULT) -> None:
        self.server = await transport(AT, self.open, ready=lambda: self.ready, bounds=bounds)


@contextlib.asynccontextmanager
async def raw(address: str, data: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """Connect and send bytes."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    try:
        yield reader
    finally:
        writer.close()


OPENING = encoded(
    [
        *((b":method", b"POST"), (b":scheme", b"http"), (b":path", PROCESS.encode()), (b":authority", b"x")),
        *((b"te", b"trailers"), (b"content-type", b"application/grpc")),
    ]
)
BEGIN = frames.PREFACE + frames.settings({})
MALFORMED = {
    "another protocol": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "nothing after the preface but noise": frames.PREFACE + b"\xff" * 40,
    "a frame that is too large": BEGIN + frames.frame_header(frames.DATA, 0, 1, 2**24 - 1),
    "a broken header block": BEGIN + frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff" * 20),
}


WINDOWS = {size: (("grpc.http2.lookahead_bytes", size), ("grpc.http2.bdp_probe", 0)) for size in (65_536, 1024 * 1024)}


def part(body: bytes, *, end_of_stream: bool = False) -> pb.ProcessingRequest:
    """Give a chunk of a request's body."""
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=body, end_of_stream=end_of_stream))


OK = Answer(status=200, body=b"ok")


async def waiting_calls(serving: Serving, client: Client, number: int) -> tuple[list[Any], list[Script]]:
    """Open streams whose sessions wait to say something."""
    calls = []
    for count in range(1, number + 1):
        calls.append(client.stream().call)
        await calls[-1].write(HEADERS)
        assert (await calls[-1].read()).HasField("request_headers")
        await calls[-1].write(part(b"late", end_of_stream=True))
        await until(lambda count=count: [session.waiting for session in serving.sessions] == [True] * count)
    return calls, serving.sessions[:number]


class TransportContract:
    """The suite."""

    @pytest.fixture
    def transport(self) -> Transport:
        raise NotImplementedError

    @pytest.fixture
    def bounds(self) -> Bounds:
        return DEFAULT

    @pytest.fixture
    async def serving(self, transport: Transport, bounds: Bounds) -> AsyncIterator[Serving]:
        serving = Serving()
        await serving.begin(transport, bounds)
        yield serving
        assert serving.server is not None
        await serving.server.drain(0.0)
        await until(lambda: set(serving.closed) <= {1}, within_s=5)
        assert serving.server.streams == 0
        await until(lambda: serving.server is not None and serving.server.held_bytes == 0, within_s=5)

    @pytest.fixture
    async def client(self, serving: Serving) -> AsyncIterator[Client]:
        async with client_of(serving.address) as client:
            yield client

    async def test_messages_are_answered_in_order_and_the_stream_ends_with_ok(
        self, serving: Serving, client: Client
    ) -> None:
        stream = client.stream()
        reply = await stream.ask(b"x" * 10)
        assert reply.immediate_response.body == b"10"
        assert serving.server is not None
        assert serving.server.streams == 1
        assert await stream.end() is grpc.StatusCode.OK
        await until(lambda: serving.closed == [1])
        assert serving.server.streams == 0

    @pytest.mark.parametrize("size", [0, 16_380, 65_536, 1_000_000, 20_000_000])
    async def test_bodies_of_any_size_come_whole(self, client: Client, size: int) -> None:
        reply = await client.stream().ask(b"x" * size)
        assert reply.immediate_response.body == b"%d" % size

    @pytest.mark.parametrize("window", WINDOWS)
    async def test_a_body_in_chunks_is_held_and_goes_back_behind_the_headers(
        self, serving: Serving, window: int
    ) -> None:
        body = bytes(number % 251 for number in range(1_000_000))
        async with client_of(serving.address, *WINDOWS[window]) as client:
            call = client.stream().call
            await call.write(DUPLEX_HEADERS)
            for at in range(0, len(body), 50_000):
                await call.write(part(body[at : at + 50_000], end_of_stream=at + 50_000 == len(body)))
            assert (await call.read()).HasField("request_headers")
            chunks = [(await call.read()).request_body.response.body_mutation.streamed_response for _ in range(17)]
            assert b"".join(chunk.body for chunk in chunks) == body
            assert [chunk.end_of_stream for chunk in chunks] == [False] * 16 + [True]
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.OK

    async def test_chunks_of_an_answer_go_back_as_they_come(self, client: Client) -> None:
        stream = client.stream()
        for number in range(3):
            sent = pb.HttpBody(body=b"%d" % number, end_of_stream=number == 2)
            reply = await stream.tell(response_body=sent)
            chunk = reply.response_body.response.body_mutation.streamed_response
            assert (chunk.body, chunk.end_of_stream) == (sent.body, sent.end_of_stream)

    @pytest.mark.parametrize("bounds", [Bounds(held_bytes=250_000)])
    async def test_bodies_that_are_gathered_are_bounded_for_all_connections(self, serving: Serving) -> None:
        async with client_of(serving.address) as one, client_of(serving.address) as other:
            calls = [each.stream().call for each in (one, one, other)]
            for number, call in enumerate(calls[:2], 1):
                await call.write(DUPLEX_HEADERS)
                await call.write(part(b"x" * 100_000))
                await until(lambda number=number: serving.holding.held_bytes >= number * 100_000)
            await calls[2].write(DUPLEX_HEADERS)
            await calls[2].write(part(b"x" * 60_000))
            assert (await calls[2].read()).immediate_response.status.code == 503
            await calls[0].write(part(b"x" * 10_000, end_of_stream=True))
            assert (await calls[0].read()).HasField("request_headers")

    @pytest.mark.parametrize("bounds", [Bounds(unfinished_s=0.3, look_s=0.05)])
    async def test_a_stream_that_brings_no_decision_ends_in_time_and_holds_nothing(
        self, serving: Serving, client: Client
    ) -> None:
        call = client.stream().call
        await call.write(DUPLEX_HEADERS)
        await call.write(part(b"x" * 1000))
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: serving.closed == [1])

    @pytest.mark.parametrize("bounds", [Bounds(unfinished_s=0.3, look_s=0.05)])
    async def test_a_peer_that_takes_no_replies_is_given_up_in_time(self, serving: Serving) -> None:
        async with client_of(serving.address, *WINDOWS[65_536]) as client:
            call = client.stream().call
            await call.write(DUPLEX_HEADERS)
            for last in (False, False, False, True):
                await call.write(part(b"x" * 500_000, end_of_stream=last))
            await until(lambda: serving.closed == [1])

    async def test_many_streams_at_once_are_all_answered(self, serving: Serving, client: Client) -> None:
        async def one(size: int) -> None:
            stream = client.stream()
            assert (await stream.ask(b"x" * size)).immediate_response.body == b"%d" % size
            assert await stream.end() is grpc.StatusCode.OK

        async with asyncio.TaskGroup() as group:
            for size in range(500):
                group.create_task(one(size))
        await until(lambda: serving.closed == [1] * 500)

    async def test_what_has_no_place_ends_its_stream_with_the_reason_and_no_other(
        self, serving: Serving, client: Client
    ) -> None:
        other, stream = client.stream(), client.stream()
        await other.headers()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.ask(b"break")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == "that has no place: 100 % ähnlich"
        assert (await other.body(b"x")).immediate_response.body == b"1"
        await until(lambda: sorted(serving.closed) == [0, 1])

    async def test_bytes_that_are_no_message_end_the_stream(self, client: Client) -> None:
        call = client.channel.stream_stream("/envoy.service.ext_proc.v3.ExternalProcessor/Process")()
        await call.write(b"\xff\xff\xff")
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT

    async def test_a_stream_that_is_cancelled_is_closed(self, serving: Serving, client: Client) -> None:
        stream = client.stream()
        await stream.headers()
        stream.call.cancel()
        await until(lambda: serving.closed == [1])

    async def test_a_connection_that_goes_closes_its_streams(self, serving: Serving) -> None:
        async with client_of(serving.address) as client:
            for stream in (client.stream(), client.stream()):
                await stream.headers()
        await until(lambda: serving.closed == [1, 1])

    async def test_health_is_told_by_every_name(self, serving: Serving, client: Client) -> None:
        assert {await client.health(name) for name in PICKER_NAMES} == {1}
        serving.ready = False
        told = {name: await client.health(name) for name in PICKER_NAMES}
        assert told == {name: 1 if name == "liveness" else 2 for name in PICKER_NAMES}
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.health("other")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    async def test_other_methods_are_not_implemented(self, client: Client) -> None:
        call = client.channel.unary_unary("/some.Service/Method")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    async def test_a_drain_ends_what_is_settled_lets_the_rest_be_settled_and_takes_no_more(
        self, serving: Serving, client: Client
    ) -> None:
        settled, waiting = client.stream(), client.stream()
        await settled.ask(b"x")
        await waiting.headers()
        assert serving.server is not None
        draining = asyncio.create_task(serving.server.drain(10.0))
        assert await settled.call.read() is grpc.aio.EOF
        assert await settled.call.code() is grpc.StatusCode.OK
        assert (await waiting.body(b"xx")).immediate_response.body == b"2"
        assert await waiting.call.code() is grpc.StatusCode.OK
        await asyncio.wait_for(draining, 5)
        async with client_of(serving.address) as late:
            with pytest.raises(grpc.aio.AioRpcError):
                await late.health("")

    async def test_a_drain_waits_no_longer_than_it_may(self, serving: Serving, client: Client) -> None:
        stream = client.stream()
        await stream.headers()
        assert serving.server is not None
        await asyncio.wait_for(serving.server.drain(0.1), 5)
        assert await stream.call.code() is not grpc.StatusCode.OK
        await until(lambda: serving.closed == [1])

    @pytest.mark.parametrize("name", MALFORMED)
    async def test_a_peer_that_breaks_the_protocol_is_cut_off_alone(
        self, serving: Serving, client: Client, name: str
    ) -> None:
        stream = client.stream()
        await stream.headers()
        async with raw(serving.address, MALFORMED[name]) as reader, asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                await reader.read()
        assert (await stream.body(b"x")).immediate_response.body == b"1"

    async def test_a_peer_that_leaves_in_the_middle_of_a_message_is_forgotten(self, serving: Serving) -> None:
        opening = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, OPENING)
        async with raw(serving.address, BEGIN + opening + frames.frame(frames.DATA, 0, 1, b"\0\0\0\xff")):
            await until(lambda: serving.closed == [0])
        await until(lambda: serving.closed == [1])

    @pytest.mark.parametrize("bounds", [Bounds(look_s=3600.0)])
    async def test_a_session_speaks_later_and_the_stream_goes_on(self, serving: Serving, client: Client) -> None:
        """Nothing but what is said makes the transport write."""
        (call,), (session,) = await waiting_calls(serving, client, 1)
        async with asyncio.timeout(30):
            session.say(Wait(timeout_s=2.5))
            assert (await call.read()).override_message_timeout.ToTimedelta().total_seconds() == 2.5
            session.say(Proceed(phase=Phase.REQUEST_BODY))
            session.say(BodyChunk(phase=Phase.REQUEST_BODY, body=b"x" * 1_000_000), OK)
            assert (await call.read()).HasField("request_body")
            chunk = (await call.read()).request_body.response.body_mutation.streamed_response
            assert chunk.body == b"x" * 1_000_000
            assert (await call.read()).immediate_response.body == b"ok"
            await call.write(part(b"xyz"))
            assert (await call.read()).immediate_response.body == b"3"
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.OK

    async def test_what_is_said_later_and_what_is_replied_keep_their_order(
        self, serving: Serving, client: Client
    ) -> None:
        (call,), (session,) = await waiting_calls(serving, client, 1)
        for number in range(200):
            session.say(BodyChunk(phase=Phase.REQUEST_BODY, body=b"%d" % number))
            await call.write(part(b"x"))
        heard = [await call.read() for _ in range(400)]
        said = [
            int(reply.request_body.response.body_mutation.streamed_response.body)
            for reply in heard
            if reply.HasField("request_body")
        ]
        assert said == list(range(200))

    async def test_others_go_on_while_a_stream_waits(self, serving: Serving, client: Client) -> None:
        calls, sessions = await waiting_calls(serving, client, 2)
        assert (await client.stream().ask(b"xx")).immediate_response.body == b"2"
        sessions[1].say(OK)
        assert (await calls[1].read()).immediate_response.body == b"ok"
        sessions[0].say(OK)
        assert (await calls[0].read()).immediate_response.body == b"ok"

    @pytest.mark.parametrize("leave", ["reset", "end"])
    async def test_a_client_that_leaves_while_it_waits_closes_the_session_and_is_told_nothing(
        self, serving: Serving, client: Client, leave: str
    ) -> None:
        (call, other), sessions = await waiting_calls(serving, client, 2)
        if leave == "reset":
            call.cancel()
        else:
            await call.done_writing()
        await until(lambda: serving.closed == [1, 0], within_s=1)
        sessions[0].say(Wait(timeout_s=1.0), OK)
        sessions[1].say(OK)
        assert (await other.read()).immediate_response.body == b"ok"
        if leave == "end":
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK

    @pytest.mark.parametrize("bounds", [Bounds(unfinished_s=0.3, look_s=0.05)])
    async def test_a_stream_that_waits_for_us_is_not_ended_for_its_peers_silence(
        self, serving: Serving, client: Client
    ) -> None:
        (call,), (session,) = await waiting_calls(serving, client, 1)
        silent = client.stream().call
        await silent.write(HEADERS)
        assert (await silent.read()).HasField("request_headers")
        assert await silent.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        session.say(OK)
        assert (await call.read()).immediate_response.body == b"ok"

    @pytest.mark.parametrize("bounds", [Bounds(unfinished_s=0.3, look_s=0.05)])
    async def test_a_peer_that_takes_nothing_of_what_is_said_later_is_given_up_in_time(self, serving: Serving) -> None:
        async with client_of(serving.address, *WINDOWS[65_536]) as client:
            _, (session,) = await waiting_calls(serving, client, 1)
            session.say(*[BodyChunk(phase=Phase.REQUEST_BODY, body=b"x" * 62_000)] * 30, OK)
            assert serving.holding.held_bytes > 1_000_000
            await until(lambda: serving.closed == [1])

    async def test_a_mistake_in_what_is_said_later_ends_that_stream_alone(
        self, serving: Serving, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.CRITICAL)
        (call, other), sessions = await waiting_calls(serving, client, 2)
        sessions[0].say(Answer(status=200, body=b"", details="\ud800"))
        assert await call.code() in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
        sessions[1].say(OK)
        assert (await other.read()).immediate_response.body == b"ok"

    async def test_a_drain_gives_a_stream_that_waits_its_time_and_ends_it_with_its_reply(
        self, serving: Serving, client: Client
    ) -> None:
        (call, late), sessions = await waiting_calls(serving, client, 2)
        assert serving.server is not None
        draining = asyncio.create_task(serving.server.drain(1.0))
        sessions[0].say(Wait(timeout_s=5.0))
        assert (await call.read()).HasField("override_message_timeout")
        assert serving.closed == [0, 0]
        sessions[0].say(OK)
        assert (await call.read()).immediate_response.body == b"ok"
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        await asyncio.wait_for(draining, 10)
        assert await late.code() is not grpc.StatusCode.OK
        assert serving.closed == [1, 1]

    async def test_a_session_is_told_the_trace_that_its_call_belongs_to(self, serving: Serving, client: Client) -> None:
        traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        for stream in (client.stream(traceparent=traceparent), client.stream()):
            await stream.headers()
        assert sorted(serving.traceparents) == ["", traceparent]

    async def test_an_address_in_use_is_said_to_be(self, serving: Serving, transport: Transport) -> None:
        with pytest.raises(UserError, match="in use"):
            await transport(serving.address, serving.open, ready=lambda: True)
