"""A request body as this engine understands it: checked, and rewritten for llama.cpp.

llama.cpp reads many wrong values as if they were not there (`temperature: -1`, `suffix`, `best_of`). What a client
asked for and would not get is refused here with a 400 instead. Fields that are not listed pass through unread, except
those that reach into the server itself (`WITHHELD`).

Sources: OpenAI's API reference, vLLM's `entrypoints/openai/protocol.py` (ranges), llama.cpp's `tools/server`.
"""

from collections.abc import Collection
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

Kind = Literal["chat", "completion"]

WITHHELD: Final = frozenset(
    {
        "id_slot",
        "n_cmpl",
        "response_fields",
        "return_tokens",
        "timings_per_token",
        "return_progress",
        "lora",
        "verbose",
    },
)
"""Fields of llama.cpp that choose slots and adapters, or change the shape of its answers."""
_SEEDS: Final = 2**32 - 1
"""llama.cpp's seeds have 32 bits, and the last one means a random seed."""

_One = Annotated[int, Meta(ge=1, le=1)]
_Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
_Fraction = Annotated[float, Meta(ge=0, le=1)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]


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
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    ignore_eos: bool | None = None
    n: _One | None = None


class _Chat(_Sampling, kw_only=True):
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    max_completion_tokens: _Positive | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[dict[str, Any]] | None = None


class _Completion(_Sampling, kw_only=True):
    prompt: str | list[Any]
    best_of: _One | None = None
    echo: Literal[False] | None = None
    suffix: Literal[""] | None = None
    logprobs: None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request that llama.cpp can be asked."""

    kind: Kind
    payload: bytes
    """The body for llama.cpp: always streaming, with usage and progress, under the served name."""
    streams: bool
    include_usage: bool


class Unfit(msgspec.Struct, frozen=True, kw_only=True):
    """A body that is refused with a 400, and why; `model` is set when it asks for another model (404)."""

    why: str
    model: str | None = None


def read_request(body: bytes, *, kind: Kind, served: Collection[str], name: str) -> Request | Unfit:
    """Check the body of a request. `served` are the names it may ask for, `name` the one that answers carry."""
    try:
        fields = msgspec.json.decode(body)
        checked = msgspec.convert(fields, _Chat if kind == "chat" else _Completion)
    except (UnicodeDecodeError, RecursionError, msgspec.DecodeError) as error:
        return Unfit(why=_mistake(error))
    if checked.model is not None and checked.model not in served:
        return Unfit(why="another model", model=checked.model)
    if isinstance(checked, _Completion) and isinstance(checked.prompt, list) and not _is_one_prompt(checked.prompt):
        return Unfit(why="`prompt` must be one string or one list of tokens; send several prompts as several requests.")
    return Request(
        kind=kind,
        payload=_payload(fields, checked, name),
        streams=bool(checked.stream),
        include_usage=bool(checked.stream_options and checked.stream_options.include_usage),
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
        case _:
            return f"The body is not JSON: {error}."


def _is_one_prompt(prompt: list[Any]) -> bool:
    return (len(prompt) == 1 and isinstance(prompt[0], str)) or (
        len(prompt) > 0 and all(type(token) is int for token in prompt)
    )


def _payload(fields: dict[str, Any], checked: _Sampling, name: str) -> bytes:
    asked = {key: value for key, value in fields.items() if value is not None and key not in WITHHELD}
    asked |= {"model": name, "stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
    if checked.repetition_penalty is not None:
        asked["repeat_penalty"] = checked.repetition_penalty
    if checked.seed is not None:
        asked["seed"] = checked.seed % _SEEDS
    prompt = asked.get("prompt")
    if isinstance(prompt, list) and isinstance(prompt[0], str):
        asked["prompt"] = prompt[0]
    return msgspec.json.encode(asked)
