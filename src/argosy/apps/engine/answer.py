"""What llama.cpp says, as the client wants it: an event stream, or one JSON object.

Rules of this file:
- llama.cpp is always asked to stream, so that an answer can be given up after any token; whole answers are put
  together here.
- A chunk in the middle of an answer is passed on as it came. Its kind is told from its bytes: inside a JSON string
  every quote has a backslash before it, so text that a model writes cannot imitate `"finish_reason":null`.
- Only the last chunks are parsed: they carry the reason of the end, the usage, and timings that are no part of vLLM's
  contract.
- llama.cpp knows one name of its model, and puts it into every chunk; an adapter's takes its place by the same reading.
"""

import re
from typing import Any, Final

import msgspec

from argosy.apps.engine.request import Request

DONE: Final = b"data: [DONE]\n\n"
_UNFINISHED: Final = b'"finish_reason":null'
_ROLE: Final = b'"delta":{"role":'
_PROGRESS: Final = b'"prompt_progress":{'
_ERROR: Final = b'{"error":'
_MODEL: Final = re.compile(rb'"model":"(?:[^"\\]|\\.)*"')


class _Cached(msgspec.Struct):
    cache: int = 0


class _Progress(msgspec.Struct):
    prompt_progress: _Cached


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one request."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


def is_progress(chunk: bytes) -> bool:
    """The chunk only tells how far the prompt is."""
    return _PROGRESS in chunk or chunk == b"null"


def cached_tokens(progress: bytes) -> int:
    """How many tokens of the prompt were there before, by a chunk that tells how far it is."""
    return msgspec.json.decode(progress, type=_Progress).prompt_progress.cache


def is_token(chunk: bytes) -> bool:
    """The chunk carries generated text (or a call, or a thought), neither a role nor the end."""
    return _UNFINISHED in chunk and _ROLE not in chunk


def is_error(chunk: bytes) -> bool:
    """The chunk is an error instead of an answer."""
    return chunk.startswith(_ERROR)


class Answer:
    """The answer to one request; chunks in, bytes for the client out."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._model = b'"model":' + msgspec.json.encode(request.adapter) if request.adapter else b""
        self._parts = _Parts(request.kind) if not request.streams else None
        self.finish_reason: str | None = None
        self.usage: Usage | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Take the next chunk and give what to send: nothing as long as the client wants the answer whole."""
        if self._model:
            chunk = _MODEL.sub(lambda _found: self._model, chunk, count=1)
        if self._parts is None and _UNFINISHED in chunk:
            return b"data: " + chunk + b"\n\n"
        parsed = msgspec.json.decode(chunk)
        if self._parts is not None:
            self._parts.add(parsed)
        return self._last(parsed)

    def end(self, kv_transfer: dict[str, Any] | None = None) -> bytes:
        """Give what to send after the last chunk; `kv_transfer` says where a prefill's state is kept."""
        if self._parts is None:
            return DONE
        return self._parts.whole(self.usage, {"kv_transfer_params": kv_transfer} if kv_transfer else {})

    def _last(self, parsed: dict[str, Any]) -> bytes:
        """Note the reason and the usage of a last chunk, and send them as two events, as vLLM does."""
        usage = parsed.pop("usage", None)
        parsed.pop("timings", None)
        choices = parsed["choices"]
        for choice in choices:
            self.finish_reason = choice["finish_reason"] or self.finish_reason
        if usage is not None:
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            self.usage = Usage(usage["prompt_tokens"], usage["completion_tokens"], cached)
        if self._parts is not None:
            return b""
        sent = _event(parsed) if choices else b""
        if usage is not None and self._request.include_usage:
            sent += _event(parsed | {"choices": [], "usage": usage})
        return sent


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


class _Parts:
    """The chunks of one answer, put together."""

    def __init__(self, kind: str) -> None:
        self._is_chat = kind == "chat"
        self._frame: dict[str, Any] = {}
        self._text: dict[str, list[str]] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._logprobs: list[Any] = []
        self._finish_reason: str | None = None

    def add(self, chunk: dict[str, Any]) -> None:
        self._frame = self._frame or {key: chunk[key] for key in ("id", "created", "model")}
        for choice in chunk["choices"]:
            self._finish_reason = choice["finish_reason"] or self._finish_reason
            self._logprobs += (choice.get("logprobs") or {}).get("content", ())
            said = choice["delta"] if self._is_chat else {"text": choice["text"]}
            for key in ("text", "content", "reasoning_content"):
                if said.get(key):
                    self._text.setdefault(key, []).append(said[key])
            for call in said.get("tool_calls") or ():
                self._add_call(call)

    def _add_call(self, delta: dict[str, Any]) -> None:
        """Only the first part of a call names it; the others continue its arguments."""
        function = delta.get("function", {})
        call = self._calls.setdefault(delta["index"], {"type": "function", "function": {"name": "", "arguments": ""}})
        call |= {key: delta[key] for key in ("id", "type") if delta.get(key)}
        for key in ("name", "arguments"):
            call["function"][key] += function.get(key) or ""

    def whole(self, usage: Usage | None, extra: dict[str, Any]) -> bytes:
        text = {key: "".join(parts) for key, parts in self._text.items()}
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": self._finish_reason}
        if self._is_chat:
            message: dict[str, Any] = {"role": "assistant", "content": None if self._calls else ""} | text
            if self._calls:
                message["tool_calls"] = [call for _, call in sorted(self._calls.items())]
            choice["message"] = message
            choice["logprobs"] = {"content": self._logprobs} if self._logprobs else None
        else:
            choice["text"] = text.get("text", "")
        kind = "chat.completion" if self._is_chat else "text_completion"
        said = {"object": kind, "choices": [choice], "usage": _usage_json(usage)}
        return msgspec.json.encode(self._frame | said | extra)


def _usage_json(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
