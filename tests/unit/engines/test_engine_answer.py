"""llama.cpp's chunks become an event stream or one object."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from argosy.apps.engine.answer import DONE, Answer, is_error, is_progress, is_token
from argosy.apps.engine.request import Kind, Request

FRAME = {"created": 1, "id": "chatcmpl-1", "model": "smollm2"}
USAGE = {
    "completion_tokens": 2,
    "prompt_tokens": 3,
    "total_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 1},
}


def _chunk(*choices: Any, **fields: Any) -> bytes:
    return json.dumps({"choices": choices} | FRAME | fields, separators=(",", ":"), ensure_ascii=False).encode()


def _delta(delta: Any, reason: str | None = None, **fields: Any) -> bytes:
    return _chunk({"finish_reason": reason, "index": 0, "delta": delta, **fields})


def _request(kind: Kind = "chat", *, streams: bool, include_usage: bool = False) -> Request:
    return Request(kind=kind, payload=b"", streams=streams, include_usage=include_usage)


ROLE = _delta({"role": "assistant", "content": None})
CHAT = [ROLE, _delta({"content": "Hi"}), _delta({"content": "!"}), _delta({}, "stop")]
LAST = _chunk(usage=USAGE, timings={"cache_n": 1})
COMPLETION = [
    _chunk({"text": " blue", "index": 0, "logprobs": None, "finish_reason": None}),
    _chunk({"text": "", "index": 0, "logprobs": None, "finish_reason": "length"}, usage=USAGE, timings={}),
]


def _events(answer: Answer, chunks: list[bytes]) -> list[Any]:
    sent = b"".join(map(answer.feed, chunks)) + answer.end()
    assert sent.endswith(DONE)
    return [json.loads(event.removeprefix(b"data: ")) for event in sent.removesuffix(DONE).split(b"\n\n") if event]


def _whole(kind: Kind, chunks: list[bytes]) -> Any:
    answer = Answer(_request(kind, streams=False))
    assert all(answer.feed(chunk) == b"" for chunk in chunks)
    return json.loads(answer.end())


def test_chunks_in_the_middle_are_passed_on_byte_for_byte() -> None:
    answer = Answer(_request(streams=True))
    assert answer.feed(CHAT[1]) == b"data: " + CHAT[1] + b"\n\n"


def test_an_adapters_answer_carries_its_name_whatever_the_text_imitates() -> None:
    name, imitation = 'pi"rate\\1', 'say "model":"smollm2"'
    chunks = [ROLE, _delta({"content": imitation}), _delta({}, "stop"), LAST]
    request = msgspec.structs.replace(_request(streams=True, include_usage=True), adapter=name)
    sent = _events(Answer(request), chunks)
    assert [event["model"] for event in sent] == [name] * 4
    assert sent[1]["choices"][0]["delta"]["content"] == imitation


def test_usage_is_sent_as_the_last_event_to_those_who_asked() -> None:
    asked = _events(Answer(_request(streams=True, include_usage=True)), [*CHAT, LAST])
    assert asked[-1] == {"choices": [], "usage": USAGE} | FRAME
    unasked = _events(Answer(_request(streams=True)), [*CHAT, LAST])
    assert unasked == asked[:-1]


def test_usage_in_the_chunk_of_the_reason_becomes_an_event_of_its_own() -> None:
    answer = Answer(_request("completion", streams=True, include_usage=True))
    *_, last, usage = _events(answer, COMPLETION)
    assert "usage" not in last
    assert last["choices"][0]["finish_reason"] == "length"
    assert usage == {"choices": [], "usage": USAGE} | FRAME


def test_reason_and_usage_are_known_at_the_end_however_the_answer_is_sent() -> None:
    for streams in (True, False):
        answer = Answer(_request(streams=streams))
        for chunk in [*CHAT, LAST]:
            answer.feed(chunk)
        assert answer.finish_reason == "stop"
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.cached_tokens) == (3, 2, 1)


def test_a_whole_chat_answer_has_its_message_reason_and_usage() -> None:
    assert _whole("chat", [*CHAT, LAST]) == FRAME | {
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "logprobs": None,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Hi!"},
            },
        ],
        "usage": USAGE,
    }


def test_a_whole_completion_has_its_text() -> None:
    whole = _whole("completion", COMPLETION)
    assert (whole["object"], whole["choices"][0]["text"]) == ("text_completion", " blue")


def test_an_answer_without_a_token_is_empty_text() -> None:
    assert _whole("chat", [ROLE, CHAT[-1], LAST])["choices"][0]["message"]["content"] == ""


def test_parts_of_calls_thoughts_and_probabilities_are_put_together() -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    chunks = [
        ROLE,
        _delta({"reasoning_content": "Well, "}, logprobs={"content": [{"token": "Well"}]}),
        _delta({"reasoning_content": "now."}, logprobs={"content": [{"token": "now"}]}),
        _delta({"tool_calls": [call]}),
        _delta({"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}),
        _delta({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
        _delta({"tool_calls": [{"index": 1, "id": "c2", "type": "function", "function": {"name": "g"}}]}),
        _delta({}, "tool_calls"),
        LAST,
    ]
    choice = _whole("chat", chunks)["choices"][0]
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "Well, now.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
        ],
    }
    assert choice["finish_reason"] == "tool_calls"
    assert [entry["token"] for entry in choice["logprobs"]["content"]] == ["Well", "now"]


def test_kinds_of_chunks_are_told_apart() -> None:
    progress = _delta({"role": "assistant", "content": None}).replace(b"}]", b'}],"prompt_progress":{"total":3}', 1)
    assert is_progress(progress)
    assert is_progress(b"null")
    assert is_error(b'{"error":{"code":400}}')
    assert [is_token(chunk) for chunk in [*CHAT, LAST]] == [False, True, True, False, False]


@given(text=st.text() | st.sampled_from(['"finish_reason":null', '"prompt_progress":{', '"delta":{"role":"x"', "\n\n"]))
def test_no_text_is_taken_for_the_frame_around_it(text: str) -> None:
    token, last = _delta({"content": text}), _delta({"content": text}, "stop")
    assert is_token(token)
    assert not is_token(last)
    assert not is_progress(token)
    assert not is_error(token)
    answer = Answer(_request(streams=True))
    assert _events(answer, [token, last])[0] == json.loads(token)
    assert answer.finish_reason == "stop"
