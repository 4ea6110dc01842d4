from collections.abc import Callable
from typing import get_args

import pytest
from msgspec.structs import replace

from argosy.api.disaggregation import Disaggregation
from argosy.api.names import MAX_BODY_BYTES, MOVED_HEADER
from argosy.api.objects import Key
from argosy.apps.picker.answers import Refusal
from argosy.apps.picker.gathering import CHUNK_BYTES
from argosy.apps.picker.legs import Done
from argosy.apps.picker.pick import Pick, Prefill, RequestHead
from argosy.apps.picker.session import PickerSession, State
from argosy.base.endpoint import Endpoint
from argosy.base.errors import PeerError
from argosy.decide.prefixes.prompt import NO_PROMPT
from argosy.decide.routing.rewrites import Rewritten
from argosy.decide.scheduling.deciders.threshold import Verdict
from argosy.decide.scheduling.record import PrefillRecord, Record
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
    Steer,
    Tell,
    Wait,
)
from argosy.edge.rpc.holding import Holding

DUPLEX = BodyMode.FULL_DUPLEX_STREAMED
POST = {":method": "POST", ":path": "/v1/chat/completions"}
HEADERS = {
    BodyMode.BUFFERED: RequestHeaders(headers=POST),
    DUPLEX: RequestHeaders(headers=POST, body_mode=DUPLEX, response_body_mode=DUPLEX),
}
BODYLESS = RequestHeaders(headers={":method": "GET", ":path": "/v1/models"}, end_of_stream=True)
BODY = RequestBody(body=b"{}")
CHUNK = RequestBody(body=b"{", end_of_stream=False)
ANSWERED_BY = ResponseHeaders(status=200, served="127.0.0.1:8000")
PICK = Pick(
    record=Record(request="r", at_s=0.0),
    pool=Key("default", "p"),
    endpoints=(Endpoint("127.0.0.1", 8000),),
    destination="127.0.0.1:8000",
    reservation=1,
    set_headers=(("x", "y"),),
    remove_headers=("z",),
)
PREFILLED_PICK = replace(
    PICK,
    prefill=Prefill(
        endpoint=Endpoint("127.0.0.2", 8000),
        reservation=2,
        at_s=0.0,
        policy=Disaggregation(prefill_timeout_seconds=30),
        fields={},
        uncached=1.0,
        record=PrefillRecord(verdict=Verdict(outcome="prefill", threshold_tokens=1)),
        model="m",
        prompt=NO_PROMPT,
        prompt_bytes=1024.0,
        held_bytes=0,
        room=0,
    ),
)
REFUSAL = Answer(status=404, body=b"no")
STEER = Steer(phase=Phase.REQUEST_BODY, set_headers=(("x", "y"),), remove_headers=("z",), destination="127.0.0.1:8000")


class HandLeg:
    """A leg that is ended by hand."""

    def __init__(self, done: Done, *, goes_on: bool = False, body: bytes | None = None) -> None:
        self.done = done
        self.goes_on = goes_on
        self.body = body
        self.is_cancelled = False
        self.is_answered = False

    def answered(self) -> None:
        self.is_answered = True

    def cancel(self) -> None:
        self.is_cancelled = True


class Ledger:
    """A decider that picks or refuses as told, and keeps what happened to its picks."""

    def __init__(self, decision: Pick | Answer = PICK, early: Answer | None = None) -> None:
        self.decision = decision
        self.early = early
        self.bodies: list[bytes | None] = []
        self.ends: list[tuple[Pick, bool]] = []
        self.servers: list[str] = []
        self.moved: list[str] = []
        self.tells: tuple[tuple[str, str], ...] = ()
        self.leg: HandLeg | None = None
        self.goes_on: tuple[bool, bytes | None] = (False, None)

    def prefill(self, _pick: Pick, _head: RequestHead, done: Done) -> HandLeg:
        goes_on, body = self.goes_on
        self.leg = HandLeg(done, goes_on=goes_on, body=body)
        return self.leg

    def early_answer(self, _head: RequestHead) -> Answer | None:
        return self.early

    def refuse(self, _head: RequestHead, refusal: Refusal) -> Answer:
        return refusal.answer

    def decide(self, _head: RequestHead, body: bytes | None) -> Pick | Answer:
        self.bodies.append(body)
        return self.decision

    def told(self, _pick: Pick) -> tuple[tuple[str, str], ...]:
        return self.tells

    def served(self, _pick: Pick, by: str) -> None:
        self.servers.append(by)

    def arrived(self, _pick: Pick, moved: str) -> None:
        self.moved.append(moved)

    def given_up(self, _pick: Pick, refusal: Refusal) -> Answer:
        return refusal.answer

    def ended(self, pick: Pick, *, answered: bool) -> None:
        self.ends.append((pick, answered))


def opened(ledger: Ledger, holding: Holding | None = None) -> PickerSession:
    return PickerSession(ledger, holding or Holding())


def session_in(state: State, mode: BodyMode = BodyMode.BUFFERED) -> tuple[PickerSession, Ledger]:
    """Give a session that came to the state by legal messages."""
    ledger = Ledger({State.ANSWERED: REFUSAL, State.PREFILLING: PREFILLED_PICK}.get(state, PICK))
    session = opened(ledger)
    decided: tuple[Message, ...] = (HEADERS[mode], BODY)
    way: dict[State, tuple[Message, ...]] = {
        State.OPEN: (),
        State.AWAITING_BODY: (HEADERS[mode],),
        State.GATHERING: (HEADERS[mode], CHUNK),
        State.PREFILLING: decided,
        State.PICKED: decided,
        State.ANSWERED: decided,
        State.ANSWERING: (*decided, ANSWERED_BY),
        State.ENDED: (*decided, ANSWERED_BY, ResponseTrailers()),
    }
    for message in way[state]:
        session.receive(message)
    assert session.state is state
    return session, ledger


MESSAGES: dict[str, Message] = {
    "headers": HEADERS[BodyMode.BUFFERED],
    "headers of a body in chunks": HEADERS[DUPLEX],
    "headers without a body": BODYLESS,
    "body": BODY,
    "chunk": CHUNK,
    "request trailers": RequestTrailers(),
    "response headers": ANSWERED_BY,
    "response body": ResponseBody(body=b"[]", end_of_stream=True),
    "response chunk": ResponseBody(body=b"["),
    "response trailers": ResponseTrailers(),
}
ANSWER_BEGINS = ((Proceed(phase=Phase.RESPONSE_HEADERS),), State.ANSWERING)
ANSWER_ENDS = ((Proceed(phase=Phase.RESPONSE_TRAILERS),), State.ENDED)
AT_HEADERS = replace(STEER, phase=Phase.REQUEST_HEADERS)
Table = dict[tuple[State, str], tuple[tuple[Reply, ...], State]]
BEGINNINGS: Table = {
    (State.OPEN, "headers"): ((Proceed(phase=Phase.REQUEST_HEADERS),), State.AWAITING_BODY),
    (State.OPEN, "headers of a body in chunks"): ((), State.GATHERING),
    (State.OPEN, "headers without a body"): ((AT_HEADERS,), State.PICKED),
    (State.OPEN, "response headers"): ANSWER_BEGINS,
}
BUFFERED_LEGAL: Table = {
    **BEGINNINGS,
    (State.AWAITING_BODY, "body"): ((STEER,), State.PICKED),
    (State.AWAITING_BODY, "chunk"): ((STEER,), State.PICKED),
    (State.AWAITING_BODY, "response headers"): ANSWER_BEGINS,
    (State.PREFILLING, "response headers"): ANSWER_BEGINS,
    (State.PICKED, "request trailers"): ((Proceed(phase=Phase.REQUEST_TRAILERS),), State.PICKED),
    (State.PICKED, "response headers"): ANSWER_BEGINS,
    (State.ANSWERING, "response body"): ((Proceed(phase=Phase.RESPONSE_BODY),), State.ENDED),
    (State.ANSWERING, "response chunk"): ((Proceed(phase=Phase.RESPONSE_BODY),), State.ANSWERING),
    (State.ANSWERING, "response trailers"): ANSWER_ENDS,
    (State.ENDED, "response trailers"): ANSWER_ENDS,
}
DUPLEX_LEGAL: Table = {
    **BEGINNINGS,
    (State.GATHERING, "chunk"): ((), State.GATHERING),
    (State.GATHERING, "body"): (
        (AT_HEADERS, BodyChunk(phase=Phase.REQUEST_BODY, body=b"{{}", end_of_stream=True)),
        State.PICKED,
    ),
    (State.GATHERING, "request trailers"): (
        (
            AT_HEADERS,
            BodyChunk(phase=Phase.REQUEST_BODY, body=b"{"),
            Proceed(phase=Phase.REQUEST_TRAILERS),
        ),
        State.PICKED,
    ),
    (State.GATHERING, "response headers"): ANSWER_BEGINS,
    (State.PREFILLING, "response headers"): ANSWER_BEGINS,
    (State.PICKED, "response headers"): ANSWER_BEGINS,
    (State.ANSWERING, "response chunk"): (
        (BodyChunk(phase=Phase.RESPONSE_BODY, body=b"["),),
        State.ANSWERING,
    ),
    (State.ANSWERING, "response body"): (
        (BodyChunk(phase=Phase.RESPONSE_BODY, body=b"[]", end_of_stream=True),),
        State.ENDED,
    ),
    (State.ANSWERING, "response trailers"): ANSWER_ENDS,
    (State.ENDED, "response trailers"): ANSWER_ENDS,
    **{(State.ENDED, name): ((), State.ENDED) for name in ("response body", "response chunk")},
    **{
        (state, name): ((), state)
        for state in (State.PREFILLING, State.PICKED, State.ANSWERED, State.ANSWERING, State.ENDED)
        for name in ("body", "chunk", "request trailers")
    },
}
LEGAL = {BodyMode.BUFFERED: BUFFERED_LEGAL, DUPLEX: DUPLEX_LEGAL}
REACHED = [
    *((BodyMode.BUFFERED, state) for state in State if state is not State.GATHERING),
    *((DUPLEX, state) for state in State if state is not State.AWAITING_BODY),
]
HELD = {State.PICKED, State.ANSWERING, State.ENDED}


def test_the_table_has_every_kind_of_message() -> None:
    assert {type(message) for message in MESSAGES.values()} == set(get_args(Message))


@pytest.mark.parametrize(("mode", "state", "name"), [(*each, name) for each in REACHED for name in MESSAGES])
def test_every_message_in_every_state_is_replied_to_or_passed_over_or_is_a_peer_error(
    mode: BodyMode, state: State, name: str
) -> None:
    session, ledger = session_in(state, mode)
    if (state, name) in LEGAL[mode]:
        assert (tuple(session.receive(MESSAGES[name])), session.state) == LEGAL[mode][state, name]
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
    opened(ledger).receive(BODYLESS)
    assert ledger.bodies == [None]


def test_a_request_whose_body_envoy_keeps_to_itself_is_decided_at_its_headers() -> None:
    ledger = Ledger()
    session = opened(ledger)
    session.receive(RequestHeaders(headers={}, body_mode=BodyMode.NONE))
    assert (ledger.bodies, session.state) == ([None], State.PICKED)


@pytest.mark.parametrize("mode", [BodyMode.STREAMED, BodyMode.BUFFERED_PARTIAL, BodyMode.GRPC])
def test_a_body_mode_that_is_not_served_is_said_to_be_so(mode: BodyMode) -> None:
    with pytest.raises(PeerError, match=f"{mode.name} is not served"):
        opened(Ledger()).receive(RequestHeaders(headers={}, body_mode=mode))


@pytest.mark.parametrize("mode", HEADERS)
def test_a_refusal_before_the_body_holds_nothing(mode: BodyMode) -> None:
    ledger = Ledger(early=REFUSAL)
    session = opened(ledger)
    assert (tuple(session.receive(HEADERS[mode])), session.state) == ((REFUSAL,), State.ANSWERED)
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


@pytest.mark.parametrize("mode", HEADERS)
def test_a_stream_is_decided_once_its_request_is(mode: BodyMode) -> None:
    states = [state for each, state in REACHED if each is mode]
    decided = {state for state in states if session_in(state, mode)[0].decided}
    assert decided == set(states) - {State.OPEN, State.AWAITING_BODY, State.GATHERING, State.PREFILLING}
    assert [state for state in states if session_in(state, mode)[0].waiting] == [State.PREFILLING]


def test_a_stream_is_settled_once_its_request_is_decided_and_while_no_chunk_of_the_answer_comes_by_us() -> None:
    settled = {(mode, state) for mode, state in REACHED if session_in(state, mode)[0].settled}
    assert settled == {
        *((BodyMode.BUFFERED, state) for state in (State.PICKED, State.ANSWERED, State.ANSWERING, State.ENDED)),
        *((DUPLEX, state) for state in (State.ANSWERED, State.ENDED)),
    }


def gathered(*chunks: bytes, holding: Holding | None = None) -> tuple[PickerSession, Ledger, list[Reply]]:
    """Give a session that took a body in chunks, the last of them its end, and all its replies."""
    ledger = Ledger()
    session = opened(ledger, holding)
    replies = list(session.receive(HEADERS[DUPLEX]))
    for number, chunk in enumerate(chunks, 1):
        replies += session.receive(RequestBody(body=chunk, end_of_stream=number == len(chunks)))
    return session, ledger, replies


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 1_000_000])
@pytest.mark.parametrize("trailers", [False, True])
def test_a_body_in_chunks_is_given_on_whole_in_chunks_of_a_size_that_envoy_takes(size: int, *, trailers: bool) -> None:
    body = bytes(number % 251 for number in range(size))
    ledger = Ledger()
    session = opened(ledger)
    pieces = [body[at : at + 70_000] for at in range(0, size, 70_000)]
    messages: list[Message] = [RequestBody(body=piece, end_of_stream=False) for piece in pieces]
    messages += [RequestTrailers()] if trailers else [RequestBody(body=b"", end_of_stream=True)]
    replies = [reply for message in (HEADERS[DUPLEX], *messages) for reply in session.receive(message)]
    assert ledger.bodies == [body]
    assert replies[0] == AT_HEADERS
    chunks = [reply for reply in replies if isinstance(reply, BodyChunk)]
    assert b"".join(chunk.body for chunk in chunks) == body
    assert max((len(chunk.body) for chunk in chunks), default=0) <= CHUNK_BYTES
    ends = [chunk.end_of_stream for chunk in chunks]
    if trailers:
        assert replies[1:] == [*chunks, Proceed(phase=Phase.REQUEST_TRAILERS)]
        assert True not in ends
    else:
        assert replies[1:] == chunks
        assert ends == [False] * (len(chunks) - 1) + [True]


def test_the_first_end_of_a_body_is_the_one_that_counts() -> None:
    session, ledger, _ = gathered(b"{", b"}")
    assert session.receive(RequestBody(body=b"{}", end_of_stream=True)) == ()
    assert session.receive(RequestTrailers()) == ()
    assert ledger.bodies == [b"{}"]


def test_a_body_in_chunks_that_is_refused_is_not_given_on() -> None:
    ledger = Ledger(REFUSAL)
    session = opened(ledger)
    assert session.receive(HEADERS[DUPLEX]) == ()
    assert tuple(session.receive(BODY)) == (REFUSAL,)
    assert session.state is State.ANSWERED


def test_a_body_in_chunks_that_becomes_too_large_is_refused_as_soon_as_it_is() -> None:
    holding = Holding(2 * MAX_BODY_BYTES)
    largest = b"x" * MAX_BODY_BYTES
    session, ledger, replies = gathered(largest, b"x", b"x", holding=holding)
    (refusal,) = replies
    assert isinstance(refusal, Answer)
    assert (refusal.status, session.state, ledger.bodies, holding.held_bytes) == (413, State.ANSWERED, [], 0)
    _, ledger, _ = gathered(largest, b"", holding=holding)
    assert ledger.bodies == [largest]


def test_bodies_that_are_gathered_are_bounded_together() -> None:
    holding = Holding(100)
    first, second = opened(Ledger(), holding), opened(Ledger(), holding)
    for session in (first, second):
        session.receive(HEADERS[DUPLEX])
        assert session.receive(RequestBody(body=b"x" * 50, end_of_stream=False)) == ()
    (refusal,) = second.receive(RequestBody(body=b"x", end_of_stream=False))
    assert isinstance(refusal, Answer)
    assert (refusal.status, holding.held_bytes) == (429, 50)
    assert dict(refusal.headers)["x-llm-d-request-dropped-reason"] == "rejected-saturated"
    assert len(first.receive(RequestBody(body=b"x" * 50, end_of_stream=True))) == 2


ENDS: dict[str, Callable[[PickerSession], object]] = {
    "decided": lambda session: session.receive(BODY),
    "answered by the proxy": lambda session: session.receive(ANSWERED_BY),
    "closed": lambda session: session.close(),
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_held_of_a_body_once_it_is_decided_or_its_stream_goes(end: str) -> None:
    holding = Holding()
    session = opened(Ledger(), holding)
    session.receive(HEADERS[DUPLEX])
    session.receive(CHUNK)
    assert holding.held_bytes == 1
    ENDS[end](session)
    assert holding.held_bytes == 0


def test_how_the_answer_is_sent_is_told_by_the_first_message_whichever_it_is() -> None:
    session = opened(Ledger())
    session.receive(replace(ANSWERED_BY, response_body_mode=DUPLEX))
    assert session.receive(ResponseBody(body=b"[")) == (BodyChunk(phase=Phase.RESPONSE_BODY, body=b"["),)


def test_what_the_decider_tells_goes_out_with_the_headers_of_the_answer() -> None:
    session, ledger = session_in(State.PICKED)
    ledger.tells = (("x-argosy-explain", "because"),)
    assert session.receive(ANSWERED_BY) == (Tell(set_headers=ledger.tells),)


REWRITTEN = replace(PICK, rewritten=Rewritten(asked="m", served="tuned", by="default/r", rule=0))
ASKED = RequestBody(body=b'{"model": "m"}')
SERVED_AS = b'{"model": "tuned"}'
EVENTS = ResponseHeaders(status=200, content_type="text/event-stream; charset=utf-8")
NAMES_NO_MODEL = [
    ResponseHeaders(status=200, content_type="text/plain"),
    ResponseHeaders(status=200),
    ResponseHeaders(status=200, content_type="application/json", content_encoding="gzip"),
    ResponseHeaders(status=200, content_type="application/json", end_of_stream=True),
]


def rewriting(mode: BodyMode, answers: BodyMode, **headers: str) -> tuple[PickerSession, list[Reply]]:
    session = opened(Ledger(REWRITTEN))
    begun = RequestHeaders(headers={**POST, **headers}, body_mode=mode, response_body_mode=answers)
    return session, [reply for message in (begun, ASKED) for reply in session.receive(message)]


@pytest.mark.parametrize("has_length", [False, True])
def test_a_rewritten_request_changes_its_body_and_the_length_that_it_has(*, has_length: bool) -> None:
    headers = {"content-length": "14"} if has_length else {}
    length = (("content-length", "18"),) if has_length else ()
    session = opened(Ledger(REWRITTEN))
    session.receive(RequestHeaders(headers={**POST, **headers}))
    steer = replace(STEER, set_headers=(("x", "y"), *length))
    assert tuple(session.receive(ASKED)) == (replace(steer, body=SERVED_AS),)
    session = opened(Ledger(REWRITTEN))
    session.receive(RequestHeaders(headers={**POST, **headers}, body_mode=DUPLEX, response_body_mode=DUPLEX))
    assert tuple(session.receive(ASKED)) == (
        replace(steer, phase=Phase.REQUEST_HEADERS),
        BodyChunk(phase=Phase.REQUEST_BODY, body=SERVED_AS, end_of_stream=True),
    )


@pytest.mark.parametrize("answers", [BodyMode.NONE, BodyMode.STREAMED, BodyMode.BUFFERED, DUPLEX])
def test_the_answer_of_a_rewritten_request_names_the_model_that_was_asked_for(answers: BodyMode) -> None:
    session, _ = rewriting(BodyMode.BUFFERED, answers)
    asked_for = BodyMode.STREAMED if answers is BodyMode.NONE else None
    assert tuple(session.receive(EVENTS)) == (Tell(remove_headers=("content-length",), body_mode=asked_for),)
    pieces = [b'data: {"mod', b'el":"tu', b"ned", b'"}\n\n', b"data: [DONE]\n\n"]
    named = [b'data: {"mod', b'el":"m"', b"", b"}\n\n", b"data: [DONE]\n\n"]
    for number, (piece, expected) in enumerate(zip(pieces, named, strict=True)):
        is_last = number == len(pieces) - 1
        if answers is DUPLEX:
            reply: Reply = BodyChunk(phase=Phase.RESPONSE_BODY, body=expected, end_of_stream=is_last)
        else:
            reply = Proceed(phase=Phase.RESPONSE_BODY) if piece == expected else AnswerBody(body=expected)
        assert tuple(session.receive(ResponseBody(body=piece, end_of_stream=is_last))) == (reply,)
    assert session.state is State.ENDED


@pytest.mark.parametrize("head", NAMES_NO_MODEL)
@pytest.mark.parametrize("answers", [BodyMode.NONE, DUPLEX])
def test_an_answer_that_can_name_no_model_is_let_alone(answers: BodyMode, head: ResponseHeaders) -> None:
    session, _ = rewriting(BodyMode.BUFFERED, answers)
    assert tuple(session.receive(head)) == (Proceed(phase=Phase.RESPONSE_HEADERS),)
    assert session.settled == (answers is BodyMode.NONE)


def test_what_is_told_stands_beside_what_is_asked_for() -> None:
    ledger = Ledger(REWRITTEN)
    ledger.tells = (("x-why", "so"),)
    session = opened(ledger)
    for message in (HEADERS[BodyMode.BUFFERED], ASKED):
        session.receive(message)
    told = Tell(set_headers=ledger.tells, remove_headers=("content-length",), body_mode=BodyMode.STREAMED)
    assert tuple(session.receive(EVENTS)) == (told,)


def test_a_rewritten_stream_is_settled_when_its_answer_has_ended() -> None:
    session, _ = rewriting(BodyMode.BUFFERED, BodyMode.NONE)
    assert not session.settled
    session.receive(EVENTS)
    assert not session.settled
    session.receive(ResponseTrailers())
    assert session.settled


def prefilling(
    mode: BodyMode, *, goes_on: tuple[bool, bytes | None] = (False, None), length: bool = False
) -> tuple[PickerSession, HandLeg, list[Reply], list[Reply]]:
    """Give a session whose request has a leg, the leg, what was replied at once, and where later replies come."""
    ledger, later = Ledger(PREFILLED_PICK), list[Reply]()
    ledger.goes_on = goes_on
    session = PickerSession(ledger, Holding(), "", later.extend)
    headers = {**POST, "content-length": "2"} if length else POST
    session.receive(replace(HEADERS[mode], headers=headers))
    now = list(session.receive(BODY))
    assert ledger.leg is not None
    return session, ledger.leg, now, later


def test_a_proxy_waits_longer_than_a_leg_may_take_and_is_then_told_the_changed_body() -> None:
    session, leg, now, later = prefilling(BodyMode.BUFFERED, length=True)
    assert now == [Wait(timeout_s=35.0)]
    assert later == []
    leg.done(b"changed")
    assert later == [replace(STEER, body=b"changed", set_headers=(("x", "y"), ("content-length", "7")))]
    assert session.state is State.PICKED
    session.close()
    assert not leg.is_cancelled, "it is over"


def test_a_body_in_chunks_waits_without_a_word_and_goes_on_in_chunks() -> None:
    _, leg, now, later = prefilling(DUPLEX)
    assert now == []
    leg.done(b"changed")
    assert later == [AT_HEADERS, BodyChunk(phase=Phase.REQUEST_BODY, body=b"changed", end_of_stream=True)]


@pytest.mark.parametrize("mode", HEADERS)
def test_a_request_whose_leg_failed_goes_on_as_it_came(mode: BodyMode) -> None:
    _, leg, _, later = prefilling(mode)
    leg.done(None)
    unchanged = [AT_HEADERS, BodyChunk(phase=Phase.REQUEST_BODY, body=b"{}", end_of_stream=True)]
    assert later == (unchanged if mode is DUPLEX else [STEER])


def test_a_leg_may_end_in_a_refusal() -> None:
    session, leg, _, later = prefilling(BodyMode.BUFFERED)
    leg.done(Refusal(reason="prefill_failed", answer=REFUSAL))
    assert (later, session.state) == ([REFUSAL], State.ANSWERED)


@pytest.mark.parametrize(
    ("status", "moved", "kept"), [(200, "430", ["430"]), (200, None, [""]), (503, None, []), (503, "430", [])]
)
def test_what_a_good_answer_says_of_a_state_is_kept_and_no_client_sees_it(
    status: int, moved: str | None, kept: list[str]
) -> None:
    ledger, later = Ledger(PREFILLED_PICK), list[Reply]()
    session = PickerSession(ledger, Holding(), "", later.extend)
    session.receive(HEADERS[BodyMode.BUFFERED])
    session.receive(BODY)
    assert ledger.leg is not None
    ledger.leg.done(b"changed")
    reply = session.receive(ResponseHeaders(status=status, moved=moved))
    assert reply == (Proceed(phase=Phase.RESPONSE_HEADERS) if moved is None else Tell(remove_headers=(MOVED_HEADER,)),)
    assert ledger.moved == kept


def test_a_client_that_leaves_or_a_proxy_that_goes_on_alone_cancels_the_leg() -> None:
    for message in (None, ANSWERED_BY):
        session, leg, _, later = prefilling(BodyMode.BUFFERED)
        if message is None:
            session.close()
        else:
            session.receive(message)
        assert leg.is_cancelled
        leg.done(b"too late")
        assert later == []


@pytest.mark.parametrize("body", [None, b"paired"])
def test_a_request_that_need_not_wait_for_its_leg_goes_on_at_once(body: bytes | None) -> None:
    session, leg, now, _ = prefilling(BodyMode.BUFFERED, goes_on=(True, body))
    assert now == [replace(STEER, body=body)]
    session.receive(ANSWERED_BY)
    assert leg.is_answered
    session.close()
    assert leg.is_cancelled, "an answer that has ended needs no prefill any more"
