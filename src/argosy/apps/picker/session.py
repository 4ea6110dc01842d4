"""One ext_proc stream: what Envoy may say in which state, and what is answered.

Rules of this file:

- Sans IO. Every pair of a state and a message is in `receive`: it has an answer, or it is a `PeerError`.
- A request is decided once: at its body, or at its headers when it has none. The decision is a pick, which holds a
  reservation, or an answer of ours, which holds nothing.
- A reservation is given back once, when the stream ends, in whatever way.

        OPEN ──headers──▶ AWAITING_BODY ──body──▶ PICKED ──response headers──▶ ANSWERING ──response trailers──▶ ENDED
          │                   │                                                   ▲
          └── headers without body: PICKED, or ANSWERED by us                     │
          └───────────────────┴── response headers: Envoy answered by itself ─────┘

Envoy answers by itself when a filter before ours refuses, or when a body outgrows its buffer.
"""

import enum
from typing import Protocol, assert_never

from argosy.apps.picker.pick import Pick, RequestHead
from argosy.base.errors import PeerError
from argosy.edge.rpc.ext_proc import (
    Answer,
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
    Steer,
)


class State(enum.Enum):
    """Where a stream is."""

    OPEN = "open"
    AWAITING_BODY = "awaiting body"
    PICKED = "picked"
    ANSWERING = "answering"
    ANSWERED = "answered by us"
    ENDED = "ended"


class Decider(Protocol):
    """Decides requests and keeps their reservations."""

    def early_answer(self, head: RequestHead) -> Answer | None:
        """Answer a request that is refused whatever its body says."""

    def decide(self, head: RequestHead, body: bytes | None) -> Pick | Answer:
        """Pick an endpoint, reserving it, or answer."""

    def served(self, pick: Pick, by: str) -> None:
        """Take note of who really serves the pick."""

    def ended(self, pick: Pick, *, answered: bool) -> None:
        """Give the reservation back; `answered` when the picked endpoint answered with a 2xx."""


class PickerSession:
    """The state machine of one stream."""

    __slots__ = ("_answered", "_decider", "_head", "_pick", "state")

    def __init__(self, decider: Decider) -> None:
        self.state = State.OPEN
        self._decider = decider
        self._head: RequestHead | None = None
        self._pick: Pick | None = None
        self._answered = False

    @property
    def settled(self) -> bool:
        """Whether the request is decided."""
        return self.state not in (State.OPEN, State.AWAITING_BODY)

    def receive(self, message: Message) -> Reply:
        """Take a message, give the answer. Raises `PeerError` for a message that has no place in this state."""
        match self.state, message:
            case State.OPEN, RequestHeaders():
                return self._begin(message)
            case State.AWAITING_BODY, RequestBody() if self._head is not None:
                return self._decide(self._head, message.body, Phase.REQUEST_BODY)
            case State.PICKED, RequestTrailers():
                return Proceed(phase=Phase.REQUEST_TRAILERS)
            case ((State.OPEN | State.AWAITING_BODY | State.PICKED), ResponseHeaders()):
                return self._answering(message)
            case State.ANSWERING, ResponseTrailers():
                self.state = State.ENDED
                return Proceed(phase=Phase.RESPONSE_TRAILERS)
            case _, (
                RequestHeaders()
                | RequestBody()
                | RequestTrailers()
                | ResponseHeaders()
                | ResponseBody()
                | ResponseTrailers()
            ):
                raise PeerError(f"{type(message).__name__} has no place in a stream that is {self.state.value}")
            case _:
                assert_never(message)

    def close(self) -> None:
        """Take note that the stream has ended."""
        self.state = State.ENDED
        if self._pick is not None:
            pick, self._pick = self._pick, None
            self._decider.ended(pick, answered=self._answered)

    def _begin(self, message: RequestHeaders) -> Reply:
        if message.body_mode not in (BodyMode.BUFFERED, BodyMode.NONE):
            raise PeerError(f"request_body_mode {message.body_mode.name} is not served; set it to BUFFERED")
        head = self._head = RequestHead(headers=message.headers, listener=message.listener, subset=message.subset)
        if message.end_of_stream or message.body_mode is BodyMode.NONE:
            return self._decide(head, None, Phase.REQUEST_HEADERS)
        refusal = self._decider.early_answer(head)
        if refusal is not None:
            self.state = State.ANSWERED
            return refusal
        self.state = State.AWAITING_BODY
        return Proceed(phase=Phase.REQUEST_HEADERS)

    def _decide(self, head: RequestHead, body: bytes | None, phase: Phase) -> Reply:
        decision = self._decider.decide(head, body)
        if isinstance(decision, Answer):
            self.state = State.ANSWERED
            return decision
        self.state = State.PICKED
        self._pick = decision
        return Steer(
            phase=phase,
            set_headers=decision.set_headers,
            remove_headers=decision.remove_headers,
            destination=decision.destination,
        )

    def _answering(self, message: ResponseHeaders) -> Reply:
        self.state = State.ANSWERING
        if self._pick is not None and message.served:
            self._decider.served(self._pick, message.served)
        self._answered = 200 <= message.status < 300
        return Proceed(phase=Phase.RESPONSE_HEADERS)
