import itertools
from typing import get_args

import pytest
from msgspec.structs import replace

from argosy.api.objects import Key
from argosy.apps.picker.pick import Pick, RequestHead
from argosy.apps.picker.session import PickerSession, State
from argosy.base.endpoint import Endpoint
from argosy.base.errors import PeerError
from argosy.edge.rpc.ext_proc import (
    Answer,
    BodyMode,
    Message,
    Phase,
    Proceed,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Steer,
)

HEADERS = RequestHeaders(headers={":method": "POST", ":path": "/v1/chat/completions"})
BODYLESS = RequestHeaders(headers={":method": "GET", ":path": "/v1/models"}, end_of_stream=True)
BODY = RequestBody(body=b"{}")
ANSWERED_BY = ResponseHeaders(status=200, served="127.0.0.1:8000")
PICK = Pick(
    pool=Key("default", "p"),
    endpoints=(Endpoint("127.0.0.1", 8000),),
    destination="127.0.0.1:8000",
    reservation=1,
    set_headers=(("x", "y"),),
    remove_headers=("z",),
)
REFUSAL = Answer(status=404, body=b"no")
STEER = Steer(phase=Phase.REQUEST_BODY, set_headers=(("x", "y"),), remove_headers=("z",), destination="127.0.0.1:8000")


class Ledger:
    """A decider that picks or refuses as told, and keeps what happened to its picks."""

    def __init__(self, decision: Pick | Answer = PICK, early: Answer | None = None) -> None:
        self.decision = decision
        self.early = early
        self.bodies: list[bytes | None] = []
        self.ends: list[tuple[Pick, bool]] = []
        self.servers: list[str] = []

    def early_answer(self, _head: RequestHead) -> Answer | None:
        return self.early

    def decide(self, _head: RequestHead, body: bytes | None) -> Pick | Answer:
        self.bodies.append(body)
        return self.decision

    def served(self, _pick: Pick, by: str) -> None:
        self.servers.append(by)

    def ended(self, pick: Pick, *, answered: bool) -> None:
        self.ends.append((pick, answered))


def session_in(state: State) -> tuple[PickerSession, Ledger]:
    """Give a session that came to the state by legal messages."""
    ledger = Ledger(REFUSAL if state is State.ANSWERED else PICK)
    session = PickerSession(ledger)
    way: dict[State, tuple[Message, ...]] = {
        State.OPEN: (),
        State.AWAITING_BODY: (HEADERS,),
        State.PICKED: (HEADERS, BODY),
        State.ANSWERED: (HEADERS, BODY),
        State.ANSWERING: (HEADERS, BODY, ANSWERED_BY),
        State.ENDED: (HEADERS, BODY, ANSWERED_BY, ResponseTrailers()),
    }
    for message in way[state]:
        session.receive(message)
    assert session.state is state
    return session, ledger


MESSAGES: dict[str, Message] = {
    "headers": HEADERS,
    "headers without a body": BODYLESS,
    "body": BODY,
    "request trailers": RequestTrailers(),
    "response headers": ANSWERED_BY,
    "response body": ResponseBody(),
    "response trailers": ResponseTrailers(),
}
LEGAL = {
    (State.OPEN, "headers"): (Proceed(phase=Phase.REQUEST_HEADERS), State.AWAITING_BODY),
    (State.OPEN, "headers without a body"): (replace(STEER, phase=Phase.REQUEST_HEADERS), State.PICKED),
    (State.OPEN, "response headers"): (Proceed(phase=Phase.RESPONSE_HEADERS), State.ANSWERING),
    (State.AWAITING_BODY, "body"): (STEER, State.PICKED),
    (State.AWAITING_BODY, "response headers"): (Proceed(phase=Phase.RESPONSE_HEADERS), State.ANSWERING),
    (State.PICKED, "request trailers"): (Proceed(phase=Phase.REQUEST_TRAILERS), State.PICKED),
    (State.PICKED, "response headers"): (Proceed(phase=Phase.RESPONSE_HEADERS), State.ANSWERING),
    (State.ANSWERING, "response trailers"): (Proceed(phase=Phase.RESPONSE_TRAILERS), State.ENDED),
}
HELD = {State.PICKED, State.ANSWERING, State.ENDED}


def test_the_table_has_every_kind_of_message() -> None:
    assert {type(message) for message in MESSAGES.values()} == set(get_args(Message))


@pytest.mark.parametrize(("state", "name"), list(itertools.product(State, MESSAGES)))
def test_every_message_in_every_state_has_an_answer_or_is_a_peer_error(state: State, name: str) -> None:
    session, ledger = session_in(state)
    if (state, name) in LEGAL:
        assert (session.receive(MESSAGES[name]), session.state) == LEGAL[state, name]
    else:
        with pytest.raises(PeerError, match="has no place"):
            session.receive(MESSAGES[name])
        assert session.state is state
    picked = state in HELD or ledger.bodies != []
    session.close()
    session.close()
    assert len(ledger.ends) == (picked and state is not State.ANSWERED)


def test_a_request_without_a_body_is_decided_at_its_headers() -> None:
    ledger = Ledger()
    PickerSession(ledger).receive(BODYLESS)
    assert ledger.bodies == [None]


def test_a_request_whose_body_envoy_keeps_to_itself_is_decided_at_its_headers() -> None:
    ledger = Ledger()
    session = PickerSession(ledger)
    session.receive(RequestHeaders(headers={}, body_mode=BodyMode.NONE))
    assert (ledger.bodies, session.state) == ([None], State.PICKED)


@pytest.mark.parametrize("mode", [mode for mode in BodyMode if mode not in (BodyMode.NONE, BodyMode.BUFFERED)])
def test_a_body_mode_that_is_not_served_is_said_to_be_so(mode: BodyMode) -> None:
    with pytest.raises(PeerError, match=f"{mode.name} is not served"):
        PickerSession(Ledger()).receive(RequestHeaders(headers={}, body_mode=mode))


def test_a_refusal_before_the_body_holds_nothing() -> None:
    ledger = Ledger(early=REFUSAL)
    session = PickerSession(ledger)
    assert (session.receive(HEADERS), session.state) == (REFUSAL, State.ANSWERED)
    session.close()
    assert ledger.ends == []


@pytest.mark.parametrize(("status", "answered"), [(200, True), (204, True), (429, False), (503, False), (0, False)])
def test_a_pick_ends_as_answered_when_the_answer_was_a_good_one(status: int, *, answered: bool) -> None:
    session, ledger = session_in(State.PICKED)
    session.receive(ResponseHeaders(status=status, served="127.0.0.1:8000"))
    session.close()
    assert ledger.ends == [(PICK, answered)]


def test_who_served_is_told_only_when_the_proxy_says_it() -> None:
    session, ledger = session_in(State.PICKED)
    session.receive(ResponseHeaders(status=200))
    assert ledger.servers == []
    session, ledger = session_in(State.ANSWERING)
    assert ledger.servers == ["127.0.0.1:8000"]


def test_a_stream_is_settled_once_its_request_is_decided() -> None:
    settled = {state: session_in(state)[0].settled for state in State}
    assert {state for state, is_so in settled.items() if not is_so} == {State.OPEN, State.AWAITING_BODY}
