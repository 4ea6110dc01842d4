"""What one engine answers: vLLM's contract, through its socket."""

import asyncio
import io
import json
import re
from typing import Any

import openai
import pytest

from argosy.api.names import MAX_BODY_BYTES
from harness.engine import MODEL, Engine, chat_body, said

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


async def test_a_stream_ends_with_a_reason_then_usage_then_done(engine: Engine) -> None:
    streamed = await engine.stream("Say hello.", stream_options={"include_usage": True})
    *_, last, usage, done = streamed
    assert done == "[DONE]"
    assert last["choices"][0]["finish_reason"] in {"stop", "length"}
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == usage["usage"]["prompt_tokens"] + usage["usage"]["completion_tokens"]
    assert all(event["model"] == MODEL for event in streamed[:-1])
    assert streamed[0]["choices"][0]["delta"]["role"] == "assistant"


async def test_a_stream_has_no_usage_unless_it_is_asked_for(engine: Engine) -> None:
    streamed = await engine.stream("Say hello.")
    assert not any("usage" in event or "timings" in event for event in streamed[:-1])


async def test_a_whole_answer_is_what_the_stream_says(engine: Engine) -> None:
    await engine.chat("Name a colour.")
    streamed = await engine.stream("Name a colour.")
    whole = await engine.chat("Name a colour.")
    assert whole["object"] == "chat.completion"
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": said(streamed)}
    assert whole["choices"][0]["finish_reason"] == streamed[-2]["choices"][0]["finish_reason"]


async def test_greedy_answers_to_a_cached_prompt_are_equal(engine: Engine) -> None:
    await engine.chat("Count to five.")
    answers = [await engine.chat("Count to five.", max_tokens=24) for _ in range(3)]
    assert len({answer["choices"][0]["message"]["content"] for answer in answers}) == 1


async def test_a_seed_makes_sampling_repeatable(engine: Engine) -> None:
    fields = {"temperature": 1.5, "seed": -1, "max_tokens": 16}
    await engine.chat("Tell me anything.")
    answers = [await engine.chat("Tell me anything.", **fields) for _ in range(2)]
    assert answers[0]["choices"][0]["message"] == answers[1]["choices"][0]["message"]


async def test_a_completion_that_names_no_length_has_sixteen_tokens(engine: Engine) -> None:
    body = {"model": MODEL, "prompt": "One two three", "ignore_eos": True, "temperature": 0}
    status, answer = await engine.post(COMPLETIONS, body)
    assert (status, answer["usage"]["completion_tokens"]) == (200, 16)


async def test_the_size_of_the_prefix_cache_is_told(engine: Engine) -> None:
    series = [key for key in await engine.metrics() if key.startswith("vllm:cache_config_info")]
    told = dict(re.findall(r'(\w+)="(\d+)"', series[0]))
    assert int(told["num_gpu_blocks"]) > 0
    assert int(told["block_size"]) > 0
    assert told["num_slots"] == told["num_gpu_blocks"]


async def test_a_repeated_prompt_reports_its_cached_tokens_and_the_metrics_count_them(engine: Engine) -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 5
    before = await engine.metrics()
    usages = [(await engine.chat(text))["usage"] for _ in range(2)]
    after = await engine.metrics()
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    assert cached[1] == usages[1]["prompt_tokens"] - 1
    assert _gained(before, after, "vllm:prefix_cache_hits_total") == sum(cached)
    assert _gained(before, after, "vllm:prompt_tokens_cached_total") == sum(cached)
    prompted = sum(usage["prompt_tokens"] for usage in usages)
    assert _gained(before, after, "vllm:prefix_cache_queries_total") == prompted
    assert _gained(before, after, "vllm:prompt_tokens_total") == prompted
    generated = sum(usage["completion_tokens"] for usage in usages)
    assert _gained(before, after, "vllm:generation_tokens_total") == generated
    assert _gained(before, after, "vllm:time_to_first_token_seconds_count") == 2
    assert _gained(before, after, "vllm:inter_token_latency_seconds_count") <= generated - 2
    assert _gained(before, after, "vllm:e2e_request_latency_seconds_count") == 2


async def test_completions_answer_whole_and_streamed(engine: Engine) -> None:
    body: dict[str, Any] = {"model": MODEL, "prompt": ["The sky is"], "max_tokens": 5, "temperature": 0}
    status, whole = await engine.post(COMPLETIONS, body)
    assert (status, whole["object"]) == (200, "text_completion")
    assert whole["usage"]["completion_tokens"] == 5
    streaming = body | {"prompt": "The sky is", "stream": True, "stream_options": {"include_usage": True}}
    async with engine.http.post(COMPLETIONS, json=streaming) as response:
        lines = [line.removeprefix("data: ") for line in (await response.text()).split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    *events, usage = map(json.loads, lines[:-1])
    assert "".join(event["choices"][0]["text"] for event in events) == whole["choices"][0]["text"]
    assert events[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"] == "length"
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 5)


async def test_log_probabilities_come_whole_as_streamed(engine: Engine) -> None:
    fields = {"logprobs": True, "top_logprobs": 2, "max_tokens": 4}
    await engine.chat("Hello.")
    streamed = await engine.stream("Hello.", **fields)
    whole = await engine.chat("Hello.", **fields)
    tokens = [entry["token"] for entry in whole["choices"][0]["logprobs"]["content"]]
    assert "".join(tokens) == said(streamed) == whole["choices"][0]["message"]["content"]


async def test_an_alias_is_answered_under_the_served_name(engine: Engine) -> None:
    answer = await engine.chat("Hello.", model="small")
    assert answer["model"] == MODEL
    async with engine.http.get("/v1/models") as response:
        models = (await response.json())["data"]
    assert [model["id"] for model in models] == [MODEL, "small"]
    assert models[0]["max_model_len"] == 1024


async def test_another_model_does_not_exist(engine: Engine) -> None:
    status, answer = await engine.post(CHAT, chat_body("Hello.", model="other"))
    assert status == 404
    assert answer["error"]["code"] == "model_not_found"
    assert "other" in answer["error"]["message"]


BAD_CHATS: dict[str, Any] = {
    "empty": b"",
    "not JSON": b"{",
    "not UTF-8": b'{"messages": [{"role": "user", "content": "\xff"}]}',
    "a list": b"[]",
    "nested deeply": b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "no messages": {"model": MODEL},
    "empty messages": {"messages": []},
    "messages of text": {"messages": "hello"},
    "a message without a role": {"messages": [{"content": "hello"}]},
    "a message without content": {"messages": [{"role": "user"}]},
    "content that is a number": {"messages": [{"role": "user", "content": 5}]},
    "an image for a text model": chat_body("", messages=[{"role": "user", "content": [{"type": "image_url"}]}]),
    "a prompt longer than the context": chat_body("word " * 2000),
    "temperature as text": chat_body("", temperature="hot"),
    "negative temperature": chat_body("", temperature=-1),
    "infinite penalty": chat_body("", frequency_penalty=1e300),
    "no tokens": chat_body("", max_tokens=0),
    "huge token limit": chat_body("", max_tokens=10**30),
    "several answers": chat_body("", n=2),
    "stop as a number": chat_body("", stop=5),
    "a broken grammar": chat_body("", grammar="root ::= ((("),
    "an unknown response format": chat_body("", response_format={"type": "poem"}),
    "a broken schema": chat_body("", response_format={"type": "json_schema", "json_schema": {"schema": {"type": 1}}}),
    "tools as a number": chat_body("", tools=5),
    "more messages than the context has tokens": {"messages": [{"role": "user", "content": ""}] * 10_000},
    "more text than the context holds": chat_body("some words " * 20_000),
    "a body that no prompt needs": chat_body("", metadata="x" * 1_000_000),
    "a long memory for penalties": chat_body("", repeat_last_n=10**9, repetition_penalty=1.1),
    "a pattern that never ends": chat_body(
        "",
        response_format={"type": "json_object", "schema": {"type": "string", "pattern": "^((a?){0,30}){0,30}$"}},
    ),
}
BAD_COMPLETIONS: dict[str, Any] = {
    "no prompt": {"model": MODEL},
    "two prompts": {"prompt": ["a", "b"]},
    "tokens that do not exist": {"prompt": [99_999_999]},
    "negative tokens": {"prompt": [-3]},
    "tokens above 32 bits": {"prompt": [2**40]},
    "an object": {"prompt": {}},
    "echo": {"prompt": "a", "echo": True},
    "a suffix": {"prompt": "a", "suffix": "b"},
    "log probabilities": {"prompt": "a", "logprobs": 2},
}


@pytest.mark.parametrize(
    ("path", "body"),
    [(CHAT, body) for body in BAD_CHATS.values()] + [(COMPLETIONS, body) for body in BAD_COMPLETIONS.values()],
    ids=[*BAD_CHATS, *BAD_COMPLETIONS],
)
async def test_a_bad_body_is_a_400_with_a_reason_and_counts_nowhere(engine: Engine, path: str, body: Any) -> None:
    before = await engine.metrics()
    async with asyncio.timeout(2):
        status, answer = await engine.post(path, body)
    assert status == 400, answer
    assert answer["error"]["type"] == "invalid_request_error"
    assert len(answer["error"]["message"]) > 10
    after = await engine.metrics()
    ended = "vllm:request_success_total"
    assert {k: v for k, v in before.items() if ended in k} == {k: v for k, v in after.items() if ended in k}


async def test_a_body_above_the_limit_is_a_413_with_and_without_a_length(engine: Engine) -> None:
    async def pieces() -> Any:
        for _ in range(50):
            yield b" " * 1024 * 1024

    for data in (pieces(), io.BytesIO(b" " * (MAX_BODY_BYTES + 1))):
        async with engine.http.post(CHAT, data=data) as response:
            assert response.status == 413
            assert "larger than" in (await response.json())["error"]["message"]
    assert await engine.is_ready()


async def test_unknown_paths_and_methods_are_errors_in_openais_words(engine: Engine) -> None:
    async with engine.http.get("/v1/nothing") as response:
        assert (response.status, (await response.json())["error"]["param"]) == (404, None)
    async with engine.http.get(CHAT) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_more_clients_than_slots_all_get_answers_and_never_more_than_the_slots_run(engine: Engine) -> None:
    streams = [asyncio.create_task(engine.stream(f"Say {word}.", max_tokens=16)) for word in "abcdefgh"]
    running, waiting = set(), set()
    while not all(task.done() for task in streams):
        runs, waits = await engine.load()
        running.add(runs)
        waiting.add(waits)
    assert all(said(streamed) for streamed in await asyncio.gather(*streams))
    assert max(running) == 2
    assert max(waiting) >= 4
    await engine.until_load(running=0)


async def test_the_openai_client_works_against_it(engine: Engine) -> None:
    async with openai.AsyncOpenAI(base_url=f"http://{engine.address}:8000/v1", api_key="none") as client:
        assert [model.id async for model in client.models.list()] == [MODEL, "small"]
        messages: Any = [{"role": "user", "content": "Name a city."}]
        common = {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 12}
        await client.chat.completions.create(**common)
        whole = await client.chat.completions.create(**common)
        stream = await client.chat.completions.create(**common, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content != ""
        assert chunks[-1].usage is not None
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(**common | {"model": "other"})
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(**common | {"temperature": 9})


async def test_ping_and_version_answer(engine: Engine) -> None:
    for path in ("/ping", "/version"):
        async with engine.http.get(path) as response:
            assert response.status == 200


def _gained(before: dict[str, float], after: dict[str, float], name: str) -> float:
    return after[name] - before[name]
