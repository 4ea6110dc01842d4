"""One ext_proc stream: what the proxy may say in which state, and what is replied.

Rules of this file:

- Sans IO. Every pair of a state and a message is in `receive`: it has replies, or none, or it is a `PeerError`.
- A request is decided once: at its body, or at its headers when it has none. The decision is a pick, which holds a
  reservation, or an answer of ours, which holds nothing.
- A body that comes in chunks (FULL_DUPLEX_STREAMED) ends with the chunk that says so, or with trailers: whichever is
  first. What comes behind the end is not looked at: Envoy is known to send a last chunk twice.
- A pick that has been rewritten changes one field of the body. Only of such requests the answer's body is asked for,
  where the proxy does not send it anyway, and such a stream is not settled before its answer has ended.
- While a prompt is computed elsewhere, the reply to its body waits for that; it is said outside of `receive` then.
- A reservation is given back once, when the stream ends, in whatever way; a leg that runs then is cancelled.

        OPEN ──headers──▶ AWAITING_BODY ──body──▶ PICKED ──response headers──▶ ANSWERING ──its end──▶ ENDED
          │  ╲                                      ▲ │                          ▲
          │   ╲─────────▶ GATHERING ──last chunk────┤ ╰─ or ANSWERED by us       │
          │                  a prompt that is computed elsewhere first: PREFILLING, until that is done
          ├── headers without body: PICKED, or ANSWERED by us                    │
          └── from each state before: response headers: Envoy answered by itself ┘

Envoy answers by itself when a filter before ours refuses, or when a body outgrows its buffer.
"""

import enum
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, assert_never

from argosy.api.model_field import AnswerNaming, with_model
from argosy.api.names import MAX_BODY_BYTES, MOVED_HEADER
from argosy.apps.picker import answers
from argosy.apps.picker.answer_naming import naming_of
from argosy.apps.picker.answers import Refusal
from argosy.apps.picker.gathering import GatheredBody, Room, chunks_of
from argosy.apps.picker.legs import Done, Result
from argosy.apps.picker.pick import Pick, RequestHead
from argosy.base.errors import PeerError
from argosy.edge.rpc.ext_proc import (
    Answer,
    AnswerBody,
    BodyChunk,
    BodyMode,
    Message,
    Phase,
    Proceed,
    Reply,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Say,
    Steer,
    Tell,
    Wait,
)
from argosy.edge.rpc.holding import Holding

_SERVED: Final = (BodyMode.BUFFERED, BodyMode.FULL_DUPLEX_STREAMED, BodyMode.NONE)


PREFILL_MARGIN_S: Final = 5.0
"""By how much the proxy waits longer than a prefill may take."""


class State(enum.Enum):
    """Where a stream is."""

    OPEN = "open"
    AWAITING_BODY = "awaiting body"
    GATHERING = "gathering its body"
    PREFILLING = "prefilling"
    PICKED = "picked"
    ANSWERING = "answering"
    ANSWERED = "answered by us"
    ENDED = "ended"


class _Body(NamedTuple):
    """A request's body, if it has one, the message that its reply belongs to, and whether trailers came behind it."""

    content: bytes | None
    phase: Phase
    with_trailers: bool = False


class PrefillLeg(Protocol):
    """A prompt that is being computed elsewhere."""

    @property
    def goes_on(self) -> bool:
        """Whether the request need not wait."""

    @property
    def body(self) -> bytes | None:
        """The request's changed body."""

    def answered(self) -> None:
        """Take note that the answer begins."""

    def cancel(self) -> None:
        """End it: nobody wants its result any more."""


class Decider(Protocol):
    """Decides requests and keeps their reservations."""

    def early_answer(self, head: RequestHead) -> Answer | None:
        """Answer a request that is refused whatever its body says."""

    def refuse(self, head: RequestHead, refusal: Refusal) -> Answer:
        """Refuse a request whose body does not come whole."""

    def decide(self, head: RequestHead, body: bytes | None) -> Pick | Answer:
        """Pick an endpoint, reserving it, or answer."""

    def prefill(self, pick: Pick, head: RequestHead, done: Done) -> PrefillLeg | None:
        """Begin to have a pick's prompt computed elsewhere; `done` is told once, later. None where it has no leg."""

    def served(self, pick: Pick, by: str) -> None:
        """Take note of who really serves the pick."""

    def arrived(self, pick: Pick, moved: str) -> None:
        """Take note of what an answer of 2xx says of the KV cache that its engine was to fetch."""

    def given_up(self, pick: Pick, refusal: Refusal) -> Answer:
        """Refuse a pick in whose place its leg ended in a refusal."""

    def told(self, pick: Pick) -> tuple[tuple[str, str], ...]:
        """Give headers that the client is told with the answer."""

    def ended(self, pick: Pick, *, answered: bool) -> None:
        """Give the reservation back; `answered` when the picked endpoint answered with a 2xx."""


def _say_nothing(_replies: Sequence[Reply]) -> None:
    """Say nothing: for streams that are not served by a transport."""


class PickerSession:
    """The state machine of one stream. What it holds of a body is counted in `holding`."""

    __slots__ = (
        "_answer_mode",
        "_answered",
        "_body",
        "_decider",
        "_head",
        "_is_duplex",
        "_leg",
        "_naming",
        "_pick",
        "_say",
        "_waiting",
        "state",
    )

    def __init__(self, decider: Decider, holding: Holding, traceparent: str = "", say: Say = _say_nothing) -> None:
        self.state = State.OPEN
        self._decider = decider
        self._head = RequestHead(headers={}, traceparent=traceparent)
        self._body = GatheredBody(holding)
        self._pick: Pick | None = None
        self._leg: PrefillLeg | None = None
        self._say = say
        self._waiting: _Body | None = None
        self._answered = False
        self._is_duplex = False
        self._answer_mode = BodyMode.NONE
        self._naming: AnswerNaming | None = None

    @property
    def decided(self) -> bool:
        """Whether the request is decided."""
        return self.state not in (State.OPEN, State.AWAITING_BODY, State.GATHERING, State.PREFILLING)

    @property
    def settled(self) -> bool:
        """Whether ending the stream harms nothing: chunks on their way to us would be lost, or name the wrong model."""
        is_needed = self._chunks_are_with_us or self._is_to_name
        return self.decided and not (is_needed and self.state in (State.PICKED, State.ANSWERING))

    @property
    def waiting(self) -> bool:
        """Whether the proxy waits for a prefill, which has a deadline of its own."""
        return self.state is State.PREFILLING

    @property
    def _is_whole(self) -> bool:
        """Whether the request's body has come whole."""
        return self.decided or self.state is State.PREFILLING

    @property
    def _chunks_are_with_us(self) -> bool:
        """Whether the answer's body comes to the client by way of us."""
        return self._answer_mode is BodyMode.FULL_DUPLEX_STREAMED

    @property
    def _is_to_name(self) -> bool:
        """Whether the answer is to name another model, or is not here yet and may have to."""
        if self.state is State.PICKED:
            return self._pick is not None and self._pick.rewritten is not None
        return self._naming is not None

    def receive(self, message: Message) -> Sequence[Reply]:
        """Take a message, give the replies. Raises `PeerError` for a message that has no place in this state."""
        match message:
            case RequestHeaders() | RequestBody() | RequestTrailers():
                replies = self._receive_of_request(message)
            case ResponseHeaders() | ResponseBody() | ResponseTrailers():
                replies = self._receive_of_response(message)
            case _:
                assert_never(message)
        if replies is None:
            raise PeerError(f"{type(message).__name__} has no place in a stream that is {self.state.value}")
        return replies

    def close(self) -> None:
        """Take note that the stream has ended."""
        self.state = State.ENDED
        self._body.drop()
        self._end_leg()
        if self._pick is not None:
            pick, self._pick = self._pick, None
            self._decider.ended(pick, answered=self._answered)

    def _receive_of_request(self, message: RequestHeaders | RequestBody | RequestTrailers) -> Sequence[Reply] | None:
        match self.state, message:
            case State.OPEN, RequestHeaders():
                return self._begin(message)
            case State.AWAITING_BODY, RequestBody():
                return self._decide(_Body(message.body, Phase.REQUEST_BODY))
            case State.GATHERING, (RequestBody() | RequestTrailers()):
                return self._gather(message)
            case State.PICKED, RequestTrailers() if not self._is_duplex:
                return (Proceed(phase=Phase.REQUEST_TRAILERS),)
            case _, (RequestBody() | RequestTrailers()) if self._is_duplex and self._is_whole:
                return ()
            case _:
                return None

    def _receive_of_response(
        self, message: ResponseHeaders | ResponseBody | ResponseTrailers
    ) -> Sequence[Reply] | None:
        match self.state, message:
            case (
                (State.OPEN | State.AWAITING_BODY | State.GATHERING | State.PREFILLING | State.PICKED),
                ResponseHeaders(),
            ):
                return (self._answering(message),)
            case State.ANSWERING, ResponseBody():
                return (self._answer_goes_on(message),)
            case ((State.ANSWERING | State.ENDED), ResponseTrailers()):
                self.state = State.ENDED
                return (Proceed(phase=Phase.RESPONSE_TRAILERS),)
            case State.ENDED, ResponseBody() if self._chunks_are_with_us:
                return ()
            case _:
                return None

    def _begin(self, message: RequestHeaders) -> Sequence[Reply]:
        if message.body_mode not in _SERVED:
            wanted = " or ".join(mode.name for mode in _SERVED)
            raise PeerError(f"request_body_mode {message.body_mode.name} is not served; set it to {wanted}")
        self._head = RequestHead(
            headers=message.headers,
            listener=message.listener,
            subset=message.subset,
            traceparent=self._head.traceparent,
        )
        self._is_duplex = message.body_mode is BodyMode.FULL_DUPLEX_STREAMED
        self._answer_mode = message.response_body_mode
        if message.end_of_stream or message.body_mode is BodyMode.NONE:
            return self._decide(_Body(None, Phase.REQUEST_HEADERS))
        refusal = self._decider.early_answer(self._head)
        if refusal is not None:
            self.state = State.ANSWERED
            return (refusal,)
        if self._is_duplex:
            self.state = State.GATHERING
            return ()
        self.state = State.AWAITING_BODY
        return (Proceed(phase=Phase.REQUEST_HEADERS),)

    def _gather(self, message: RequestBody | RequestTrailers) -> Sequence[Reply]:
        if isinstance(message, RequestTrailers):
            return self._decide_gathered(with_trailers=True)
        match self._body.add(message.body):
            case Room.HELD:
                return self._decide_gathered(with_trailers=False) if message.end_of_stream else ()
            case Room.TOO_LARGE:
                refusal = answers.too_large(MAX_BODY_BYTES + 1, at_least=True)
            case Room.NONE:
                refusal = answers.overloaded()
        self._body.drop()
        self.state = State.ANSWERED
        return (self._decider.refuse(self._head, refusal),)

    def _decide_gathered(self, *, with_trailers: bool) -> Sequence[Reply]:
        """Decide a body that has come whole: headers first, then the body as it came, and trailers if they ended it."""
        return self._decide(_Body(self._body.take(), Phase.REQUEST_HEADERS, with_trailers=with_trailers))

    def _decide(self, body: "_Body") -> Sequence[Reply]:
        decision = self._decider.decide(self._head, body.content)
        if isinstance(decision, Answer):
            self.state = State.ANSWERED
            return (decision,)
        self._pick = decision
        if decision.prefill is not None:
            self._leg = self._decider.prefill(decision, self._head, self._prefilled)
            if self._leg is not None and not self._leg.goes_on:
                self.state, self._waiting = State.PREFILLING, body
                timeout_s = decision.prefill.policy.prefill_timeout_seconds + PREFILL_MARGIN_S
                return () if self._is_duplex else (Wait(timeout_s=timeout_s),)
        return self._steered(decision, body, None if self._leg is None else self._leg.body)

    def _prefilled(self, result: Result) -> None:
        """Let the request go on whose prompt has been computed elsewhere, or was to be."""
        body, self._waiting, self._leg = self._waiting, None, None
        if self.state is not State.PREFILLING or body is None or self._pick is None:
            return
        if isinstance(result, Refusal):
            self.state = State.ANSWERED
            self._say((self._decider.given_up(self._pick, result),))
        else:
            self._say(self._steered(self._pick, body, result))

    def _steered(self, pick: Pick, body: "_Body", changed: bytes | None) -> Sequence[Reply]:
        """Send a picked request on its way, with a changed body if there is one: in chunks where it came so."""
        self.state = State.PICKED
        if changed is None and pick.rewritten is not None and body.content is not None:
            changed = with_model(body.content, pick.rewritten.served)
        length: tuple[tuple[str, str], ...] = ()
        if changed is not None and "content-length" in self._head.headers:
            length = (("content-length", str(len(changed))),)
        steer = Steer(
            phase=body.phase,
            set_headers=(*pick.set_headers, *length),
            remove_headers=pick.remove_headers,
            destination=pick.destination,
            body=None if self._is_duplex else changed,
        )
        if not self._is_duplex or body.content is None:
            return (steer,)
        last = (Proceed(phase=Phase.REQUEST_TRAILERS),) if body.with_trailers else ()
        sent = body.content if changed is None else changed
        return (steer, *chunks_of(sent, end_of_stream=not body.with_trailers), *last)

    def _end_leg(self) -> None:
        self._waiting = None
        if self._leg is not None:
            leg, self._leg = self._leg, None
            leg.cancel()

    def _answering(self, message: ResponseHeaders) -> Reply:
        if self.state is State.OPEN:
            self._answer_mode = message.response_body_mode or BodyMode.NONE
        if self.state is State.PREFILLING:
            self._end_leg()
        elif self._leg is not None:
            self._leg.answered()
        self.state = State.ANSWERING
        self._body.drop()
        if self._pick is not None and message.served:
            self._decider.served(self._pick, message.served)
        self._answered = 200 <= message.status < 300
        if self._answered and self._pick is not None and self._pick.prefill is not None:
            self._decider.arrived(self._pick, message.moved or "")
        told = () if self._pick is None else self._decider.told(self._pick)
        if self._pick is not None and self._pick.rewritten is not None:
            self._naming = naming_of(message, self._pick.rewritten.asked)
        removed = () if message.moved is None else (MOVED_HEADER,)
        if self._naming is None:
            is_changed = told or removed
            return (
                Tell(set_headers=told, remove_headers=removed) if is_changed else Proceed(phase=Phase.RESPONSE_HEADERS)
            )
        mode = BodyMode.STREAMED if self._answer_mode is BodyMode.NONE else None
        return Tell(set_headers=told, remove_headers=("content-length", *removed), body_mode=mode)

    def _answer_goes_on(self, message: ResponseBody) -> Reply:
        if message.end_of_stream:
            self.state = State.ENDED
        body = message.body if self._naming is None else self._naming.take(message.body)
        if self._chunks_are_with_us:
            return BodyChunk(phase=Phase.RESPONSE_BODY, body=body, end_of_stream=message.end_of_stream)
        return Proceed(phase=Phase.RESPONSE_BODY) if body is message.body else AnswerBody(body=body)
