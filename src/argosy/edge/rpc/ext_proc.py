"""Envoy's external processing, as values: the messages of one stream, the answers to them, and the port that serves it.

Rules of this file:

- One stream carries one HTTP request. Envoy speaks first. A message has one reply, unless its body is sent
  FULL_DUPLEX_STREAMED: then headers and chunks wait for what decides them, which is replied to with all that waited.
- An `Answer` is the last word.
- A `Session` is one stream's state machine: it neither waits nor knows the transport. What the other side may not say
  raises `PeerError`, which ends that stream and no other.
- A reply that takes time is said later, by what the session was given to say it with. Until then the stream is read as
  ever: other messages come, and the end, at which the session is closed at once.
- A transport calls `close` once for each session that it opened, however the stream ended.

Sources: envoy/service/ext_proc/v3/external_processor.proto; the Endpoint Picker Protocol (GIE proposal 004, 1.0.0).
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from argosy.edge.rpc import holding
from argosy.edge.rpc.holding import Bounds, Holding


class Phase(enum.Enum):
    """What a message is about, and its answer too; the values are the fields of ProcessingResponse."""

    REQUEST_HEADERS = "request_headers"
    REQUEST_BODY = "request_body"
    REQUEST_TRAILERS = "request_trailers"
    RESPONSE_HEADERS = "response_headers"
    RESPONSE_BODY = "response_body"
    RESPONSE_TRAILERS = "response_trailers"


class BodyMode(enum.Enum):
    """How a body is sent, numbered as in ProcessingMode.BodySendMode."""

    NONE = 0
    STREAMED = 1
    BUFFERED = 2
    BUFFERED_PARTIAL = 3
    FULL_DUPLEX_STREAMED = 4
    GRPC = 5


class RequestHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """The request's headers by lower-case name, pseudo-headers among them; values of repeated ones joined by commas.

    `listener` names the listener that the request came in by, empty when the proxy does not say; `subset` is the
    proxy's subset hint, None when it has none. `response_body_mode` is how the answer's body will be sent.
    """

    headers: Mapping[str, str]
    end_of_stream: bool = False
    body_mode: BodyMode = BodyMode.BUFFERED
    response_body_mode: BodyMode = BodyMode.NONE
    listener: str = ""
    subset: str | tuple[str, ...] | None = None


class RequestBody(msgspec.Struct, frozen=True, kw_only=True):
    """The request's body, or a part of it."""

    body: bytes
    end_of_stream: bool = True


class RequestTrailers(msgspec.Struct, frozen=True, kw_only=True):
    """The request's trailers."""


class ResponseHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """The answer has begun: its status (0 if absent) and who gives it, `ip:port`, as far as the proxy says.

    `response_body_mode` is None except in a stream that begins with this message. `content_type` and
    `content_encoding` are those of the body, which is absent with `end_of_stream`. `moved` is what it says of a KV
    cache (`engines.moved`), None where it says nothing.
    """

    status: int
    served: str = ""
    content_type: str = ""
    content_encoding: str = ""
    end_of_stream: bool = False
    response_body_mode: BodyMode | None = None
    moved: str | None = None


class ResponseBody(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the answer's body."""

    body: bytes
    end_of_stream: bool = False


class ResponseTrailers(msgspec.Struct, frozen=True, kw_only=True):
    """The answer has ended."""


Message = RequestHeaders | RequestBody | RequestTrailers | ResponseHeaders | ResponseBody | ResponseTrailers


class Proceed(msgspec.Struct, frozen=True, kw_only=True):
    """Go on; nothing changes."""

    phase: Phase


class Steer(msgspec.Struct, frozen=True, kw_only=True):
    """Change the request's headers, forget the route found for the old ones, and go to `destination`.

    `destination` is an ordered list `ip:port,ip:port`; it is sent as metadata, and as a header if it is among
    `set_headers`. `body` is put in the place of a body that was sent BUFFERED, with which `content-length` must agree.
    """

    phase: Phase
    set_headers: tuple[tuple[str, str], ...]
    remove_headers: tuple[str, ...]
    destination: str
    body: bytes | None = None


class Tell(msgspec.Struct, frozen=True, kw_only=True):
    """Let the headers of an answer pass, with these among them and those not.

    `body_mode` is how the answer's body is to be sent from now on; a proxy may do as it was told before. Source:
    ProcessingResponse.mode_override.
    """

    set_headers: tuple[tuple[str, str], ...] = ()
    remove_headers: tuple[str, ...] = ()
    body_mode: BodyMode | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer the client now, in the place of any upstream. `details` goes to the proxy's access log."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    details: str = ""


class BodyChunk(msgspec.Struct, frozen=True, kw_only=True):
    """Pass on a part of a body that is sent FULL_DUPLEX_STREAMED; without it the proxy passes on nothing.

    It may end otherwise than the parts that came, but whole bodies are the same. Source: StreamedBodyResponse.
    """

    phase: Phase
    body: bytes
    end_of_stream: bool = False


class AnswerBody(msgspec.Struct, frozen=True, kw_only=True):
    """Pass these bytes on in the place of a part of an answer that is not sent FULL_DUPLEX_STREAMED."""

    body: bytes


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Wait so long for the reply to the message that came last, instead of the proxy's own `message_timeout`.

    One per message counts, up to the proxy's `max_message_timeout`; of bodies that are sent FULL_DUPLEX_STREAMED no
    timeout is kept. Source: ProcessingResponse.override_message_timeout.
    """

    timeout_s: float


Reply = Proceed | Steer | Tell | Answer | BodyChunk | AnswerBody | Wait
Say = Callable[[Sequence[Reply]], None]
"""Says something to a stream's peer now, in order with all other replies; nothing once the stream has ended.

It is called on the event loop's thread, and never from within `receive` or `close`.
"""


class Session(Protocol):
    """The state of one stream."""

    @property
    def decided(self) -> bool:
        """Whether the request is decided."""

    @property
    def waiting(self) -> bool:
        """Whether the peer waits for us, not we for it: a reply is on its way that the session sets a deadline for."""

    @property
    def settled(self) -> bool:
        """Whether ending the stream with status OK harms nothing: decided, and no chunk of the answer is with us."""

    def receive(self, message: Message) -> Sequence[Reply]:
        """Take a message and give what is to be said now, in order. Raises `PeerError`."""

    def close(self) -> None:
        """Take note that the stream has ended."""


OpenSession = Callable[[Holding, str, Say], Session]
"""Opens a call's session. It is given what counts the bytes that the server holds, to count its own in; the call's
`traceparent`, empty where it has none: a proxy that traces makes a span of the call; and what it speaks later with."""


class Server(Protocol):
    """A transport that serves."""

    port: int

    @property
    def streams(self) -> int:
        """Streams that are open now."""

    @property
    def held_bytes(self) -> int:
        """What is held for its peers now."""

    async def drain(self, grace_s: float) -> None:
        """Take no more streams, end settled ones with OK, and give the others so much time to be settled."""


class Transport(Protocol):
    """Serves ext_proc, and gRPC health beside it, at an address."""

    async def __call__(
        self,
        address: str,
        open_session: OpenSession,
        *,
        ready: Callable[[], bool],
        bounds: Bounds = holding.DEFAULT,
    ) -> Server:
        """Serve at `ip:port` (port 0: any). Raises `UserError` when the address cannot be used."""
