r"""OpenAI's HTTP API, as far as a gateway reads and writes it: a request's model and prompt, models, errors.

Rules of this file:

- A body is read once, by msgspec: fields that nobody asks for are checked for syntax and skipped, never built.
- A body that two readers could understand differently is refused. JSON leaves open which of two equal keys counts
  (Envoy and msgspec take the last), so a second top-level `model` is an error, however it is spelled (`mod\u0065l`).

- What a prompt is made of is given as it stands in the body, unread: whoever goes on with a conversation writes its
  beginning as before. A prompt of another shape than the API's is no prompt, and the engine's to refuse.

Sources: https://platform.openai.com/docs/api-reference (chat, completions, responses, embeddings, models, errors);
https://docs.anthropic.com/en/api/messages (`system`, `messages`); vLLM, `cache_salt`; RFC 8259 §4.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

JSON_CONTENT_TYPE: Final = "application/json"
MODELS_PATH: Final = "/v1/models"
INVALID_REQUEST: Final = "invalid_request_error"
SERVER_ERROR: Final = "server_error"
UNAVAILABLE: Final = "service_unavailable_error"
RATE_LIMIT: Final = "rate_limit_error"
_QUOTED_CHARACTERS: Final = 200
ITEMISED_BYTES: Final = 256 * 1024
"""Messages are told apart up to this: an item may be two bytes long, and costs forty times that in memory."""


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway reads of a request body: who shall answer, and whether token by token.

    `parts` are the pieces of the prompt in the order in which an engine reads them: tools, instructions, messages. Only
    requests with the same `salt` may share what is cached of them. `reserved` is a field by which engines are told
    where to read a KV cache, empty where the body has none.
    """

    model: str
    stream: bool
    parts: tuple[msgspec.Raw | memoryview, ...] = ()
    salt: str = ""
    reserved: str = ""


class BadBody(msgspec.Struct, frozen=True, kw_only=True):
    """A body that cannot be routed; `why` is a sentence for the client, `param` the field at fault."""

    why: str
    code: str
    param: str | None = None


EMPTY_BODY: Final = BadBody(why="The request has no body; send a JSON object with a `model`.", code="empty_body")


class _Model:
    """The type of the field `model`: one that msgspec does not know, so that it hands every occurrence to our hook."""


_ABSENT: Final = msgspec.Raw()
_RESERVED: Final = ("kv_transfer_params", "bootstrap_host", "bootstrap_port", "bootstrap_room")
"""By these engines are told where to read a KV cache."""


class _Body(msgspec.Struct):
    model: _Model | msgspec.UnsetType = msgspec.UNSET
    stream: Any = None
    kv_transfer_params: msgspec.Raw = _ABSENT
    bootstrap_host: msgspec.Raw = _ABSENT
    bootstrap_port: msgspec.Raw = _ABSENT
    bootstrap_room: msgspec.Raw = _ABSENT


class _Prompted(_Body):
    messages: msgspec.Raw = _ABSENT
    prompt: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT
    tools: msgspec.Raw = _ABSENT
    system: msgspec.Raw = _ABSENT
    instructions: msgspec.Raw = _ABSENT
    cache_salt: str | None = None


class BodyReader:
    """Reads request bodies. One reader serves one thread: it collects the models of the body at hand."""

    def __init__(self) -> None:
        self._models: list[Any] = []
        self._decoder = msgspec.json.Decoder(_Body, dec_hook=self._note)
        self._prompted = msgspec.json.Decoder(_Prompted, dec_hook=self._note)

    def _note(self, _type: type, value: Any) -> _Model:
        self._models.append(value)
        return _Model()

    def read(self, body: bytes) -> ModelRequest | BadBody:
        """Read the body of a chat, completion, response, message or embedding request."""
        if not body or body.isspace():
            return EMPTY_BODY
        self._models.clear()
        try:
            if not body.isascii():
                str(body, "utf-8")  # skipped fields are not checked by the decoder
            try:
                decoded: _Body = self._prompted.decode(body)
            except msgspec.ValidationError:
                self._models.clear()
                decoded = self._decoder.decode(body)
        except UnicodeDecodeError as error:
            return BadBody(why=f"The body is not UTF-8: {error.reason} at byte {error.start}.", code="invalid_utf8")
        except RecursionError:
            return BadBody(why="The body is nested too deeply.", code="invalid_json")
        except msgspec.ValidationError as error:
            return BadBody(why=f"The body is not an object with a `model`: {error}.", code="invalid_body")
        except msgspec.DecodeError as error:
            return BadBody(why=f"The body is not JSON: {error}.", code="invalid_json")
        return _judged(self._models, decoded)


def _judged(models: list[Any], decoded: _Body) -> ModelRequest | BadBody:
    if len(models) > 1:
        return BadBody(why="The body has `model` more than once.", code="duplicate_model", param="model")
    if not models:
        return BadBody(why="The body names no `model`.", code="missing_model", param="model")
    if not isinstance(models[0], str) or not models[0]:
        return BadBody(why="`model` must be the name of a model, a string.", code="invalid_model", param="model")
    streams, reserved = decoded.stream is True, _reserved(decoded)
    if not isinstance(decoded, _Prompted):
        return ModelRequest(model=models[0], stream=streams, reserved=reserved)
    return ModelRequest(
        model=models[0],
        stream=streams,
        parts=tuple(_parts(decoded)),
        salt=decoded.cache_salt or "",
        reserved=reserved,
    )


def _reserved(body: _Body) -> str:
    return next((name for name in _RESERVED if getattr(body, name) is not _ABSENT), "")


def _parts(body: _Prompted) -> Iterator[msgspec.Raw | memoryview]:
    for first in (body.tools, body.system, body.instructions):
        if given := _given(first):
            yield given
    prompt = _given(body.prompt)
    items = _given(body.messages) or prompt or _given(body.input)
    if items and items[0] == ord("[") and not prompt and len(items) <= ITEMISED_BYTES:
        yield from _ITEMS.decode(items)
    elif items:
        # Without what closes it, so that a longer one begins with it.
        yield items[:-1]


def _given(field: msgspec.Raw) -> memoryview:
    """Give a field's bytes, none where it is absent or null."""
    given = memoryview(field)
    return _NOTHING if len(given) == 4 and given.tobytes() == b"null" else given


_NOTHING: Final = memoryview(b"")
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def error_body(message: str, *, kind: str, code: str | None = None, param: str | None = None) -> bytes:
    """Give an error as OpenAI's clients read it."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def model_not_found(model: str, models: Iterable[str]) -> bytes:
    """Give the 404 body for a model that nobody serves, naming those that are served."""
    served = ", ".join(f"`{name}`" for name in sorted(models)[:20]) or "none"
    return error_body(
        f"The model `{model[:_QUOTED_CHARACTERS]}` does not exist. Models served here: {served}.",
        kind=INVALID_REQUEST,
        code="model_not_found",
        param="model",
    )


def model_list(models: Iterable[str]) -> bytes:
    """Give the answer to `GET /v1/models`; `created` is unknown to a gateway and 0."""
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "argosy"} for name in sorted(models)]
    return msgspec.json.encode({"object": "list", "data": data})
