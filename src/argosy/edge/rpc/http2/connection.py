"""A server's side of one HTTP/2 connection, made for gRPC: long streams, small messages, no pushes.

    connection = ServerConnection()
    socket.send(connection.take())                   # our settings
    for event in connection.receive(data, now_s): …  # begin, data, end, break
    connection.send_headers(…); connection.send_data(…); connection.end(…)
    socket.send(connection.take())                   # once for all of it

Rules of this file:

- Sans IO and without a clock: the time is an argument, in seconds of any monotonic clock.
- Every byte of a peer leads to events, or to its stream's end, or to the connection's; never to an exception.
- Sending on a stream that is over does nothing, since it may have ended in the very read that is being answered.
- Data is credited at once, unless what we send on the same stream waits for the peer: who does not read may not write.
- What a peer can make us keep is bounded by `Limits`; what it makes us send unasked is as small as what it sent, so
  whoever reads no more while its own output waits keeps that bounded too.
- A stream that we end before the peer does is reset with NO_ERROR behind its end (RFC 9113 §8.1).
"""

from typing import Final

from argosy.edge.rpc.http2 import frames
from argosy.edge.rpc.http2.blocks import Block, BlockReader
from argosy.edge.rpc.http2.events import ConnectionBroken, DataCame, Event, RequestBegan, StreamBroken
from argosy.edge.rpc.http2.frames import PREFACE, ConnectionFault, ErrorCode, FrameReader, Setting, StreamFault
from argosy.edge.rpc.http2.limits import DEFAULT, Allowance, Limits
from argosy.edge.rpc.http2.requests import RequestReader
from argosy.edge.rpc.http2.sending import Outbox, Stream

UNREAD_BYTES: Final = 256 * 1024
"""What may wait on a stream before the peer gets no more credit on it."""
_DRAINING: Final = b"draining"


class ServerConnection:
    """The state of one connection. Made when a client has connected."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self.failed = False
        """Whether the peer broke the protocol."""
        self.is_introduced = False
        """Whether its settings have come."""
        self._limits = limits
        self._frames = FrameReader()
        self._requests = RequestReader(limits.header_bytes)
        self._outbox = Outbox()
        self._streams: dict[int, Stream] = {}
        self._events: list[Event] = []
        self._last_stream = 0
        self._refused_above = frames.LARGEST_STREAM
        self._credit = limits.connection_window
        self._spent = 0
        self._preface: bytes | None = b""
        self._blocks = BlockReader(limits)
        self._idle_frames = Allowance(limits.idle_frames, limits.idle_frames_per_s)
        self._resets = Allowance(limits.resets, 0.0)
        self._handlers = (
            *(self._data, self._headers, self._priority, self._rst_stream, self._settings),
            *(self._push_promise, self._ping, self._goaway, self._window_update, self._continuation),
        )
        self._introduce()

    def _introduce(self) -> None:
        limits = self._limits
        ours = {
            Setting.MAX_CONCURRENT_STREAMS: limits.streams,
            Setting.INITIAL_WINDOW_SIZE: limits.stream_window,
            Setting.MAX_HEADER_LIST_SIZE: limits.header_bytes,
        }
        more = limits.connection_window - frames.DEFAULT_WINDOW
        self._outbox.put(frames.settings(ours) + (frames.window_update(0, more) if more > 0 else b""))

    @property
    def streams(self) -> int:
        """Streams that are open."""
        return len(self._streams)

    @property
    def held_bytes(self) -> int:
        """What is kept for the peer: queues, an unfinished frame or block, the header table."""
        unfinished = self._frames.held_bytes + self._blocks.held_bytes
        return self._outbox.queued_bytes + self._requests.held_bytes + unfinished

    def waiting_bytes(self, stream_id: int) -> int:
        """Give what of a stream waits for the peer."""
        stream = self._outbox.waiting.get(stream_id)
        return 0 if stream is None else stream.queued_bytes

    @property
    def drained(self) -> bool:
        """Whether it may be closed: no stream is open, and the peer knows that no other is taken."""
        return not self._streams and self._refused_above < frames.LARGEST_STREAM

    def take(self) -> bytes:
        """Give what is to be sent now, once."""
        return self._outbox.take()

    def receive(self, data: bytes, now_s: float) -> list[Event]:
        """Take bytes of the peer and give what they mean."""
        if self.failed:
            return []
        events = self._events = []
        self._outbox.now_s = now_s
        self._idle_frames.pass_time(now_s)
        try:
            if self._preface is not None:
                data = self._without_preface(data)
            for kind, flags, stream_id, payload in self._frames.frames(data):
                self._take_frame(kind, flags, stream_id, payload)
        except ConnectionFault as fault:
            self._fail(fault)
        if self._outbox.ended:
            self._close_ended()
        return events

    def send_headers(self, stream_id: int, block: bytes) -> None:
        """Send the head of an answer, a header block made by `hpack.encoded`."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.answered = True
            self._outbox.headers(stream, block)

    def send_data(self, stream_id: int, data: bytes) -> bool:
        """Send data when the windows allow it; False when the stream is over, or had to be for all that waits."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return False
        self._outbox.data(stream, data)
        if self._outbox.queued_bytes > self._limits.queue_bytes:
            self.reset(stream_id, ErrorCode.ENHANCE_YOUR_CALM)
            return False
        return True

    def end(self, stream_id: int, trailers: bytes) -> None:
        """End an answer with trailers, a header block; no more is sent on the stream."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._outbox.end(stream, trailers)
            self._close_ended()

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """Break a stream off."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._outbox.forget(stream)
            self._outbox.put(frames.rst_stream(stream_id, code))

    def break_stalled(self, now_s: float, stalled_s: float) -> list[Event]:
        """Break off the streams of which something waits and nothing has moved for so long; gives which."""
        # What is sent without a read before it begins to wait now, not when something was read last.
        self._outbox.now_s = now_s
        stalled = [stream.id for stream in self._outbox.waiting.values() if stream.moved_s < now_s - stalled_s]
        for stream_id in stalled:
            self.reset(stream_id, ErrorCode.ENHANCE_YOUR_CALM)
        return [StreamBroken(stream_id, ErrorCode.ENHANCE_YOUR_CALM) for stream_id in stalled]

    def drain(self) -> None:
        """Ask for no more streams; those that are on their way are still taken, until the peer has heard it."""
        self._outbox.put(frames.goaway(frames.LARGEST_STREAM, ErrorCode.NO_ERROR))
        self._outbox.put(frames.frame(frames.PING, 0, 0, _DRAINING))

    def refuse_more(self) -> None:
        """Take no more streams from now on."""
        if self._refused_above == frames.LARGEST_STREAM:
            self._refused_above = self._last_stream
            self._outbox.put(frames.goaway(self._last_stream, ErrorCode.NO_ERROR))

    def _fail(self, fault: ConnectionFault) -> None:
        self.failed = True
        for stream in self._streams.values():
            self._outbox.forget(stream)
        self._streams.clear()
        self._blocks.forget()
        self._outbox.put(frames.goaway(self._last_stream, fault.code, str(fault)))
        self._events.append(ConnectionBroken(fault.code, str(fault)))

    def _without_preface(self, data: bytes) -> bytes:
        begin = (self._preface or b"") + data
        if not begin.startswith(PREFACE):
            if not PREFACE.startswith(begin):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "not HTTP/2")
            self._preface = begin
            return b""
        self._preface = None
        return begin[len(PREFACE) :]

    def _take_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if not self.is_introduced and (kind != frames.SETTINGS or flags & frames.ACK):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no SETTINGS at first")
        if self._blocks.is_inside and kind != frames.CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "another frame inside a header block")
        if kind >= frames.KINDS:
            self._spend(1)
            return
        try:
            self._handlers[kind](flags, stream_id, payload)
        except StreamFault as fault:
            if stream_id in self._streams:
                self._events.append(StreamBroken(stream_id, fault.code))
                self.reset(stream_id, fault.code)
            else:
                self._outbox.put(frames.rst_stream(stream_id, fault.code))
            self._spend(1)

    def _spend(self, amount: float) -> None:
        if not self._idle_frames.spend(amount):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that bring nothing")

    def _close_ended(self) -> None:
        for stream in self._outbox.ended:
            if self._streams.pop(stream.id, None) is not None and not stream.peer_ended:
                self._outbox.put(frames.rst_stream(stream.id, ErrorCode.NO_ERROR))
        self._outbox.ended.clear()

    def _is_open(self, stream_id: int, what: str) -> Stream | None:
        """Give a stream, None when it is over. Raises `ConnectionFault` for one that never was."""
        stream = self._streams.get(stream_id)
        if stream is None and (stream_id > self._last_stream or not stream_id & 1):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{what} on stream {stream_id}, which nobody opened")
        return stream

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        stream = self._is_open(stream_id, "DATA")
        self._charge_connection(size)
        data = frames.unpadded(payload) if flags & frames.PADDED else payload
        if stream is None or stream.peer_ended:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "DATA behind the end")
        if size > stream.credit:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the stream's window")
        stream.credit -= size
        stream.spent += size
        ended = bool(flags & frames.END_STREAM)
        if data or ended:
            self._idle_frames.earn(2)
            self._ended_by_peer(stream, ended=ended)
            self._events.append(DataCame(stream_id, data, ended))
        else:
            self._spend(1)
        if not ended and stream.spent * 2 >= self._limits.stream_window:
            self._credit_stream(stream)

    def _charge_connection(self, size: int) -> None:
        if size > self._credit:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window")
        self._credit -= size
        self._spent += size
        if self._spent * 2 >= self._limits.connection_window:
            self._outbox.put(frames.window_update(0, self._spent))
            self._credit += self._spent
            self._spent = 0

    def _credit_stream(self, stream: Stream) -> None:
        if stream.queued_bytes <= UNREAD_BYTES:
            self._outbox.put(frames.window_update(stream.id, stream.spent))
            stream.credit += stream.spent
            stream.spent = 0

    def _ended_by_peer(self, stream: Stream, *, ended: bool) -> None:
        if ended:
            stream.peer_ended = True
            self._resets.earn(1)

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"HEADERS on stream {stream_id}")
        self._take_block(self._blocks.begin(flags, stream_id, payload))

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._take_block(self._blocks.go_on(flags, stream_id, payload))

    def _take_block(self, whole: Block | None) -> None:
        if whole is None:
            return
        flags, stream_id, block = whole
        ended = bool(flags & frames.END_STREAM)
        if stream_id > self._last_stream:
            self._open(stream_id, block, ended=ended)
            return
        self._requests.skip(block)
        stream = self._streams.get(stream_id)
        if stream is None or stream.peer_ended:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "HEADERS behind the end")
        if not ended:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "trailers that end nothing")
        self._ended_by_peer(stream, ended=True)
        self._events.append(DataCame(stream_id, b"", ended=True))

    def _open(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        if stream_id > self._refused_above or len(self._streams) >= self._limits.streams:
            self._requests.skip(block)
            # A refused stream counts as opened, else it could be opened again.
            self._last_stream = stream_id
            raise StreamFault(ErrorCode.REFUSED_STREAM, "no more streams")
        self._last_stream = stream_id
        request = self._requests.request(block)
        self._idle_frames.earn(2)
        stream = Stream(stream_id, self._outbox.initial_window, self._limits.stream_window)
        self._streams[stream_id] = stream
        self._ended_by_peer(stream, ended=ended)
        self._events.append(RequestBegan(stream_id, request, ended))

    def _rst_stream(self, _flags: int, stream_id: int, payload: bytes) -> None:
        code = frames.number_of(payload, "RST_STREAM")
        stream = self._is_open(stream_id, "RST_STREAM")
        if stream is None:
            self._spend(1)
            return
        del self._streams[stream_id]
        self._outbox.forget(stream)
        self._events.append(StreamBroken(stream_id, code))
        if stream.peer_ended:
            return
        if stream.answered:
            # Envoy ends a stream so when it has had the last message that it waits for.
            self._resets.earn(1)
        elif not self._resets.spend(1):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many streams that are opened and reset")

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS of a stream")
        self._spend(1)
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS that acknowledge and set")
            return
        self.is_introduced = True
        for number, value in frames.settings_of(payload):
            self._set(number, value)
        self._outbox.put(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _set(self, number: int, value: int) -> None:
        match number:
            case Setting.ENABLE_PUSH if value > 1:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH {value}")
            case Setting.INITIAL_WINDOW_SIZE:
                if value > frames.LARGEST_WINDOW:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE {value}")
                # Every open stream is looked at.
                self._spend(len(self._streams) / 100)
                self._outbox.change_initial_window(value, self._streams)
            case Setting.MAX_FRAME_SIZE:
                if not frames.SMALLEST_MAX_FRAME <= value <= frames.LARGEST_MAX_FRAME:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE {value}")
                self._outbox.max_frame = value
            case _:
                return

    def _priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY of the connection")
        if len(payload) != 5:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of another size")
        self._spend(1)

    def _push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client that pushes")

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
        self._spend(1)
        if not flags & frames.ACK:
            self._outbox.put(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif payload == _DRAINING:
            self.refuse_more()

    def _goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id or len(payload) < 8:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a GOAWAY that is none")
        self._spend(1)

    def _window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        credit = frames.number_of(payload, "WINDOW_UPDATE") & frames.LARGEST_WINDOW
        self._spend(0.5)
        if not stream_id:
            if not credit:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window that is not widened")
            self._outbox.widen_connection(credit)
            return
        stream = self._is_open(stream_id, "WINDOW_UPDATE")
        if stream is None:
            return
        if not credit:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a window that is not widened")
        self._outbox.widen(stream, credit)
        if stream.spent * 2 >= self._limits.stream_window and not stream.peer_ended:
            self._credit_stream(stream)
