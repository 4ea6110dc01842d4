"""A request body as this engine understands it: checked, bounded, and rewritten for llama.cpp.

Rules of this file:
- Only fields listed here reach llama.cpp; others are ignored, as OpenAI's clients send many that change nothing
  (`user`, `metadata`, `store`). Of llama.cpp's own fields, those reach into slots and adapters, or allocate and compute
  as much as they say: `repeat_last_n: 1000000000` takes gigabytes.
- An adapter is asked for by its name in `model`. It alone is at work then (llama.cpp takes those that `lora` leaves out
  for 0), and none where the field is not there.
- What would cost more with its value has a limit here, before anything is held for it.
- llama.cpp reads many wrong values as if they were not there (`temperature: -1`, `suffix`, `best_of`), and a raw
  `grammar` can hold all its slots. What a client asked for and would not get is refused with a 400 instead.

Sources: OpenAI's API reference, vLLM's `entrypoints/openai/protocol.py` (ranges), llama.cpp's
`tools/server/server-schema.cpp` (fields).
"""

import re
from array import array
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from argosy.apps.engine.schema import SchemaError, check_schema
from argosy.engines.llama_cpp import COMPLETION_TOKENS, MAX_REQUEST_BYTES, Settings

Kind = Literal["chat", "completion"]

MAX_MESSAGES: Final = 1024
"""Rendering them takes 0.2 s, four times as many 1.1 s, and nothing can stop it."""
MAX_TOOLS: Final = 128
"""OpenAI's limit."""
_SEEDS: Final = 2**32 - 1
"""llama.cpp's seeds have 32 bits, and the last one means a random seed."""
_TOKENS: Final = 2**31
"""llama.cpp's tokens have 31 bits, and it drops the others; it tells itself which tokens its vocabulary has."""
_BYTES_PER_TOKEN: Final = 16
"""No text has longer tokens on average, runs of a character aside: English has 4 or 5 bytes, single words reach 20."""
_RUN_BYTES_PER_TOKEN: Final = 128
"""The longest tokens of the vocabularies in use are 128 blanks."""
_SLACK_BYTES: Final = 4096
"""For names and ids around the text, which a template may leave out."""
_RUNS: Final = re.compile(rb"(.{1,4}?)\1{7,}", re.DOTALL)

_One = Annotated[int, Meta(ge=1, le=1)]
_Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
_Count = Annotated[int, Meta(ge=0)]
_Fraction = Annotated[float, Meta(ge=0, le=1)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_Factor = Annotated[float, Meta(ge=0, le=10)]
_StopText = Annotated[str, Meta(min_length=1, max_length=256)]
_ShortText = Annotated[str, Meta(max_length=256)]
_Biases = Annotated[
    dict[Annotated[str, Meta(pattern=r"^[0-9]{1,9}\Z")], Annotated[float, Meta(ge=-100, le=100)]],
    Meta(max_length=1024),
]


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Sampling(msgspec.Struct, kw_only=True):
    """What chat and completions share. None is the same as a field that is not there."""

    model: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: _Positive | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: _Fraction | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    repeat_last_n: _Count | None = None
    typical_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    xtc_probability: _Fraction | None = None
    xtc_threshold: _Fraction | None = None
    dry_multiplier: _Factor | None = None
    dry_base: Annotated[float, Meta(ge=1, le=10)] | None = None
    dry_allowed_length: _Count | None = None
    dry_penalty_last_n: _Count | None = None
    logit_bias: _Biases | None = None
    seed: int | None = None
    stop: _ShortText | Annotated[list[_StopText], Meta(max_length=16)] | None = None
    ignore_eos: bool | None = None
    cache_prompt: bool | None = None
    n: _One | None = None
    grammar: None = None
    json_schema: None = None
    kv_transfer_params: dict[str, Any] | None = None


class _Chat(_Sampling, kw_only=True):
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    max_completion_tokens: _Positive | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: _ShortText | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: Annotated[dict[_ShortText, bool | int | float | _ShortText], Meta(max_length=16)] | None = (
        None
    )


class _Completion(_Sampling, kw_only=True):
    prompt: str | list[Any]
    best_of: _One | None = None
    echo: Literal[False] | None = None
    suffix: Literal[""] | None = None
    logprobs: None = None

    def __post_init__(self) -> None:
        if isinstance(self.prompt, list) and len(self.prompt) == 1 and isinstance(self.prompt[0], str):
            self.prompt = self.prompt[0]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request that llama.cpp can be asked."""

    kind: Kind
    payload: bytes
    """The body for llama.cpp: always streaming, with usage and progress, under the model's own name."""
    streams: bool
    include_usage: bool
    text: bytes = b""
    """The prompt, in some form that begins alike where prompts do."""
    adapter: str = ""
    """The name of one that the server has; empty for the base model."""
    is_prefill: bool = False
    """Only the prompt is to be computed, and its state kept for whoever answers it."""
    kv_source: dict[str, Any] | None = None
    """Where the state of this prompt is, as the engine said that computed it."""

    def in_slot(self, slot: int, *, reuses: bool) -> bytes:
        """Give the body for llama.cpp, bound to a slot. Of a key that stands there twice it takes the last."""
        forget = "" if reuses else ',"cache_prompt":false'
        return self.payload[:-1] + f',"id_slot":{slot}{forget}}}'.encode()


class Unfit(msgspec.Struct, frozen=True, kw_only=True):
    """A body that is refused with a 400, and why; `model` is set when it asks for another model (404)."""

    why: str
    model: str | None = None


_OURS: Final = frozenset({"repetition_penalty", "n", "best_of", "echo", "suffix", "kv_transfer_params"})
"""Checked, and not llama.cpp's."""
_WINDOWS: Final = ("repeat_last_n", "dry_allowed_length", "dry_penalty_last_n")
"""Numbers of earlier tokens to look at; llama.cpp allocates as many."""


def body_limit(context_tokens: int) -> int:
    """Bytes of the largest body that is read: decoded, JSON takes up to 25 times as much memory."""
    return min(MAX_REQUEST_BYTES, 256 * 1024 + 64 * context_tokens)


def read_request(
    body: bytes | bytearray,
    *,
    kind: Kind,
    settings: Settings,
    is_leg: bool = True,
) -> Request | Unfit:
    """Check the body of a request to a server with these settings.

    Of one that is no leg of a picker's, nothing is read of where a KV cache is.
    """
    try:
        checked = msgspec.json.decode(body, type=_Chat if kind == "chat" else _Completion)
        if checked.model is not None and checked.model not in settings.names:
            return Unfit(why="another model", model=checked.model)
        why = _excess(checked, settings.context_tokens)
    except (UnicodeDecodeError, RecursionError, msgspec.DecodeError, SchemaError) as error:
        return Unfit(why=_mistake(error))
    if why is not None:
        return Unfit(why=why)
    moved = (checked.kv_transfer_params or {}) if is_leg else {}
    is_prefill = moved.get("do_remote_decode") is True
    number = next((number for number, each in enumerate(settings.adapters) if each.name == checked.model), None)
    adapter = "" if number is None else settings.adapters[number].name
    if is_prefill and checked.stream:
        return Unfit(why="`kv_transfer_params.do_remote_decode` needs `stream: false`.")
    return Request(
        kind=kind,
        payload=_payload(checked, settings.model, number, is_prefill=is_prefill),
        streams=bool(checked.stream),
        include_usage=bool(checked.stream_options and checked.stream_options.include_usage),
        text=_text(checked),
        adapter=adapter,
        is_prefill=is_prefill,
        kv_source=moved if moved.get("do_remote_prefill") is True else None,
    )


def _mistake(error: Exception) -> str:
    """What is wrong with a body, for its sender."""
    match error:
        case UnicodeDecodeError():
            return f"The body is not UTF-8: {error.reason} at byte {error.start}."
        case RecursionError():
            return "The body is nested too deeply."
        case msgspec.ValidationError():
            return f"{error}."
        case SchemaError():
            return f"A schema in the body cannot be served: {error}."
        case _:
            return f"The body is not JSON: {error}."


def _excess(checked: _Sampling, context_tokens: int) -> str | None:
    """What in a body is more than this engine takes."""
    for key in _WINDOWS:
        if (getattr(checked, key) or 0) > context_tokens:
            return f"`{key}` is above the {context_tokens} tokens of the context."
    if isinstance(checked, _Completion):
        if isinstance(checked.prompt, list):
            return _token_excess(checked.prompt, context_tokens)
        return _text_excess(checked.prompt, context_tokens)
    if isinstance(checked, _Chat):
        most = min(MAX_MESSAGES, context_tokens)
        if len(checked.messages) > most:
            return f"`messages` has {len(checked.messages)} entries; this engine takes up to {most}."
        for schema in _schemas(checked):
            check_schema(schema)
        return _text_excess(checked.messages, context_tokens)
    return None


def _schemas(checked: _Chat) -> Iterator[Any]:
    """The schemas of a chat, each the root of its own references."""
    for tool in checked.tools or ():
        function = tool.get("function")
        yield function.get("parameters") if isinstance(function, dict) else None
    asked = checked.response_format or {}
    yield asked.get("schema")
    inner = asked.get("json_schema")
    yield inner.get("schema") if isinstance(inner, dict) else None


def _text_excess(said: str | list[dict[str, Any]], context_tokens: int) -> str | None:
    """Whether text certainly has more tokens than the context, told without counting them."""
    text = msgspec.json.encode(said)
    plain = len(_RUNS.sub(b"", text))
    tokens = (plain - _SLACK_BYTES) / _BYTES_PER_TOKEN + (len(text) - plain) / _RUN_BYTES_PER_TOKEN
    if tokens <= context_tokens:
        return None
    return f"The prompt has {len(text)} bytes of text, which cannot fit into the context of {context_tokens} tokens."


def _token_excess(prompt: list[Any], context_tokens: int) -> str | None:
    if len(prompt) > context_tokens:
        return f"The prompt has {len(prompt)} tokens, the context {context_tokens}."
    if not prompt or any(type(token) is not int for token in prompt):
        return "`prompt` must be one string or one list of tokens; send several prompts as several requests."
    if not all(0 <= token < _TOKENS for token in prompt):
        return "`prompt` has a token that no vocabulary has."
    return None


def _text(checked: _Sampling) -> bytes:
    """Give the prompt and what templates put before it, without the end that the next turn does not continue."""
    if isinstance(checked, _Completion):
        prompt = checked.prompt
        return prompt.encode() if isinstance(prompt, str) else array("i", prompt).tobytes()
    if isinstance(checked, _Chat):
        tools = msgspec.json.encode(checked.tools) if checked.tools else b""
        return tools + msgspec.json.encode(checked.messages)[:-1]
    return b""


def _payload(checked: _Sampling, name: str, adapter: int | None, *, is_prefill: bool) -> bytes:
    asked = {key: getattr(checked, key) for key in checked.__struct_fields__ if key not in _OURS}
    asked = {key: value for key, value in asked.items() if value is not None}
    asked |= {"model": name, "stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
    if checked.repetition_penalty is not None:
        asked["repeat_penalty"] = checked.repetition_penalty
    if checked.seed is not None:
        asked["seed"] = checked.seed % _SEEDS
    if adapter is not None:
        asked["lora"] = [{"id": adapter, "scale": 1.0}]
    if checked.max_tokens is None and isinstance(checked, _Completion):
        asked["max_tokens"] = COMPLETION_TOKENS
    if is_prefill:
        asked.pop("max_completion_tokens", None)
        asked["max_tokens"] = 1
    return msgspec.json.encode(asked)
