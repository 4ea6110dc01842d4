"""A body is rewritten for llama.cpp, or refused with a reason."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.apps.engine.request import MAX_MESSAGES, MAX_TOOLS, Kind, Request, Unfit, read_request
from argosy.engines.llama_cpp import Adapter, Settings

CONTEXT = 2048
SETTINGS = Settings(
    model="smollm2",
    weights="file:///smollm2.gguf",
    aliases=("small",),
    adapters=tuple(Adapter(name=name, source=f"file:///{name}.gguf") for name in ("pirate", "robot")),
    context_tokens=CONTEXT,
)
CHAT: dict[str, Any] = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}]}
COMPLETION: dict[str, Any] = {"prompt": "The sky"}


def _read(body: Any, kind: Kind = "chat") -> Request | Unfit:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_request(data, kind=kind, settings=SETTINGS)


def _payload(body: Any, kind: Kind = "chat") -> Any:
    request = _read(body, kind)
    assert isinstance(request, Request), request
    return json.loads(request.payload)


def test_llama_cpp_is_asked_to_stream_with_usage_and_progress_under_the_served_name() -> None:
    assert _payload(CHAT | {"model": "small"}) == CHAT | {
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
    }


def test_what_the_client_wants_is_kept_beside() -> None:
    quiet, loud = _read(CHAT), _read(CHAT | {"stream": True, "stream_options": {"include_usage": True}})
    assert isinstance(quiet, Request)
    assert isinstance(loud, Request)
    assert (quiet.streams, quiet.include_usage) == (False, False)
    assert (loud.streams, loud.include_usage) == (True, True)


def test_a_body_without_a_model_asks_for_the_only_one() -> None:
    assert _payload(COMPLETION, "completion")["model"] == "smollm2"


def test_an_adapter_is_asked_for_by_its_name_alone() -> None:
    for number, name in enumerate(("pirate", "robot")):
        asked = _read(CHAT | {"model": name, "lora": [{"id": 1 - number, "scale": 1.0}]})
        assert isinstance(asked, Request)
        assert asked.adapter == name
        assert json.loads(asked.payload)["lora"] == [{"id": number, "scale": 1.0}]
    for name in ("smollm2", "small"):
        base = _read(CHAT | {"model": name})
        assert isinstance(base, Request)
        assert (base.adapter, b"lora" in base.payload) == ("", False)


def test_another_model_is_named_in_the_refusal() -> None:
    refused = _read(CHAT | {"model": "other"})
    assert isinstance(refused, Unfit)
    assert refused.model == "other"


UNLISTED = ("id_slot", "n_cmpl", "lora", "verbose", "samplers", "n_probs", "n_predict", "mirostat", "chat_parser")


def test_only_listed_fields_reach_llama_cpp_and_others_are_ignored() -> None:
    sent_by_clients = {"user": "me", "metadata": {}, "store": True, "service_tier": "auto", "anything": [1]}
    listed = {"min_p": 0.1, "repeat_last_n": 64, "tool_choice": "auto"}
    payload = _payload(CHAT | dict.fromkeys(UNLISTED, 1) | sent_by_clients | listed | {"top_k": None})
    ours = {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
    assert payload == CHAT | listed | ours


def test_vllms_name_of_a_penalty_is_translated() -> None:
    assert _payload(CHAT | {"repetition_penalty": 1.2})["repeat_penalty"] == 1.2


@given(seed=st.integers())
def test_every_seed_is_a_seed_and_never_the_random_one(seed: int) -> None:
    assert 0 <= _payload(CHAT | {"seed": seed})["seed"] < 2**32 - 1


@pytest.mark.parametrize("prompt", ["a", ["a"], [1, 2], [1]])
def test_one_prompt_may_be_text_or_tokens(prompt: Any) -> None:
    assert _payload({"prompt": prompt}, "completion")["prompt"] in ("a", [1, 2], [1])


@pytest.mark.parametrize(
    "prompt", [[], ["a", "b"], [[1]], ["a", 1], [True], [1.5], 5, None, {}, [2**40], [-1], [1] * 2049]
)
def test_anything_else_is_no_prompt(prompt: Any) -> None:
    assert isinstance(_read({"prompt": prompt}, "completion"), Unfit)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b'{"messages": [{"role": "\xff"}]}', "not UTF-8"),
        (b'{"messages": [{"role": ' + b"[" * 100_000, "nested too deeply"),
        (b"[]", "Expected `object`"),
        (CHAT | {"messages": []}, "$.messages"),
        (CHAT | {"temperature": "hot"}, "$.temperature"),
        (CHAT | {"top_p": 0}, "$.top_p"),
        (CHAT | {"n": 2}, "$.n"),
        (CHAT | {"stream": "yes"}, "$.stream"),
        (CHAT | {"logit_bias": {"5": "x"}}, "$.logit_bias"),
        (CHAT | {"logit_bias": {"word": 1}}, "$.logit_bias"),
        (CHAT | {"logit_bias": dict.fromkeys(map(str, range(1025)), 1)}, "$.logit_bias"),
        (CHAT | {"repeat_last_n": 1_000_000_000}, "`repeat_last_n`"),
        (CHAT | {"dry_penalty_last_n": CONTEXT + 1}, "`dry_penalty_last_n`"),
        (CHAT | {"dry_allowed_length": -1}, "$.dry_allowed_length"),
        (CHAT | {"stop": ["x"] * 17}, "$.stop"),
        (CHAT | {"stop": "x" * 257}, "$.stop"),
        (CHAT | {"top_logprobs": 21}, "$.top_logprobs"),
        (CHAT | {"grammar": 'root ::= "a"'}, "$.grammar"),
        (CHAT | {"json_schema": {}}, "$.json_schema"),
        (CHAT | {"tools": [{}] * (MAX_TOOLS + 1)}, "$.tools"),
        (CHAT | {"tools": [{"function": {"parameters": {"enum": [1] * 300}}}]}, "schema"),
        (CHAT | {"response_format": {"type": "json_object", "schema": {"enum": [1] * 300}}}, "schema"),
        (CHAT | {"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": [1] * 300}}}}, "schema"),
        (CHAT | {"messages": CHAT["messages"] * (MAX_MESSAGES + 1)}, "`messages` has 1025"),
        (CHAT | {"messages": [{"role": "user", "content": "some words " * 4000}]}, "cannot fit"),
    ],
)
def test_a_refusal_names_the_field_or_the_mistake(body: Any, reason: str) -> None:
    refused = _read(body)
    assert isinstance(refused, Unfit)
    assert reason in refused.why


@given(body=st.binary(max_size=60))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    assert isinstance(_read(body), Unfit)


def test_runs_of_one_character_may_be_long_tokens() -> None:
    assert isinstance(_read({"prompt": " " * 100_000 + "─" * 10_000}, "completion"), Request)


@given(text=st.text(max_size=CONTEXT))
def test_text_that_could_fit_is_never_refused(text: str) -> None:
    assert isinstance(_read({"prompt": text}, "completion"), Request)


def _prefill(**fields: Any) -> Any:
    return CHAT | {"kv_transfer_params": {"do_remote_decode": True, "do_remote_prefill": False}} | fields


def test_a_prefill_computes_one_token_whatever_it_asks_for() -> None:
    payload = _payload(_prefill(max_tokens=40, max_completion_tokens=50))
    assert payload["max_tokens"] == 1
    assert "max_completion_tokens" not in payload
    assert "kv_transfer_params" not in payload
    request = _read(_prefill())
    assert isinstance(request, Request)
    assert request.is_prefill
    assert request.kv_source is None


def test_a_prefill_that_streams_is_refused_and_one_that_says_false_is_none() -> None:
    assert isinstance(_read(_prefill(stream=True)), Unfit)
    request = _read(CHAT | {"max_tokens": 9, "kv_transfer_params": {"do_remote_decode": "yes"}})
    assert isinstance(request, Request)
    assert not request.is_prefill


def test_where_a_state_is_goes_along_and_not_to_llama_cpp() -> None:
    source = {"do_remote_prefill": True, "remote_host": "10.0.0.1", "remote_block_ids": [[1]], "anything": None}
    request = _read(CHAT | {"kv_transfer_params": source})
    assert isinstance(request, Request)
    assert request.kv_source == source
    assert b"remote_host" not in request.payload


@pytest.mark.parametrize("reuses", [True, False])
def test_a_body_is_bound_to_its_slot_whatever_its_client_says_of_caching(*, reuses: bool) -> None:
    request = _read(CHAT | {"cache_prompt": True, "id_slot": 7})
    assert isinstance(request, Request)
    bound = json.loads(request.in_slot(3, reuses=reuses))
    assert bound.pop("id_slot") == 3
    assert bound.pop("cache_prompt") == reuses
    assert bound == {key: value for key, value in json.loads(request.payload).items() if key != "cache_prompt"}


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4), st.text(max_size=20))
def test_the_text_of_a_chat_that_goes_on_begins_with_that_of_the_turn_before(turns: list[str], more: str) -> None:
    messages = [{"role": "user", "content": turn} for turn in turns]
    before, after = _read(CHAT | {"messages": messages}), _read(CHAT | {"messages": [*messages, {"content": more}]})
    assert isinstance(before, Request)
    assert isinstance(after, Request)
    assert after.text.startswith(before.text)


def test_texts_of_prompts_share_what_the_prompts_share() -> None:
    texts = []
    for prompt in ("tea pot", "tea", [1, 2, 3], [1, 2]):
        request = _read({"prompt": prompt}, "completion")
        assert isinstance(request, Request)
        texts.append(request.text)
    assert texts[0].startswith(texts[1])
    assert texts[2].startswith(texts[3])
    assert len(texts[2]) > len(texts[3])


@pytest.mark.parametrize("moved", [{"do_remote_decode": True}, {"do_remote_prefill": True, "remote_host": "127.0.0.1"}])
def test_a_request_that_no_picker_marks_as_a_leg_moves_no_cache(moved: dict[str, Any]) -> None:
    body = json.dumps(CHAT | {"stream": True, "kv_transfer_params": moved}).encode()
    request = read_request(body, kind="chat", settings=SETTINGS, is_leg=False)
    assert isinstance(request, Request)
    assert (request.is_prefill, request.kv_source, request.streams) == (False, None, True)
