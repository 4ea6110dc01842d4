r"""OpenAI's HTTP API, as far as a gateway reads and writes it: a request's model, the list of models, errors.

Rules of this file:

- A body is read once, by msgspec: fields that nobody asks for are checked for syntax and skipped, never built.
- A body that two readers could understand differently is refused. JSON leaves open which of two equal keys counts
  (Envoy and msgspec take the last), so a second top-level `model` is an error, however it is spelled (`mod\u0065l`).

Sources: https://platform.openai.com/docs/api-reference (chat, completions, models, errors); RFC 8259 §4.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

JSON_CONTENT_TYPE: Final = "application/json"
MODELS_PATH: Final = "/v1/models"
INVALID_REQUEST: Final = "invalid_request_error"
SERVER_ERROR: Final = "server_error"
UNAVAILABLE: Final = "service_unavailable_error"
_QUOTED_CHARACTERS: Final = 200


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway reads of a request body: who shall answer, and whether token by token."""

    model: str
    stream: bool


class BadBody(msgspec.Struct, frozen=True, kw_only=True):
    """A body that cannot be routed; `why` is a sentence for the client, `param` the field at fault."""

    why: str
    code: str
    param: str | None = None


EMPTY_BODY: Final = BadBody(why="The request has no body; send a JSON object with a `model`.", code="empty_body")


class _Model:
    """The type of the field `model`: one that msgspec does not know, so that it hands every occurrence to our hook."""


class _Body(msgspec.Struct):
    model: _Model | msgspec.UnsetType = msgspec.UNSET
    stream: Any = None


class BodyReader:
    """Reads request bodies. One reader serves one thread: it collects the models of the body at hand."""

    def __init__(self) -> None:
        self._models: list[Any] = []
        self._decoder = msgspec.json.Decoder(_Body, dec_hook=self._note)

    def _note(self, _type: type, value: Any) -> _Model:
        self._models.append(value)
        return _Model()

    def read(self, body: bytes) -> ModelRequest | BadBody:
        """Read the body of a chat, completion, response or embedding request."""
        if not body.strip():
            return EMPTY_BODY
        self._models.clear()
        try:
            if not body.isascii():
                str(body, "utf-8")  # skipped fields are not checked by the decoder
            decoded = self._decoder.decode(body)
        except UnicodeDecodeError as error:
            return BadBody(why=f"The body is not UTF-8: {error.reason} at byte {error.start}.", code="invalid_utf8")
        except RecursionError:
            return BadBody(why="The body is nested too deeply.", code="invalid_json")
        except msgspec.ValidationError as error:
            return BadBody(why=f"The body is not an object with a `model`: {error}.", code="invalid_body")
        except msgspec.DecodeError as error:
            return BadBody(why=f"The body is not JSON: {error}.", code="invalid_json")
        return _judged(self._models, streams=decoded.stream is True)


def _judged(models: list[Any], *, streams: bool) -> ModelRequest | BadBody:
    if len(models) > 1:
        return BadBody(why="The body has `model` more than once.", code="duplicate_model", param="model")
    if not models:
        return BadBody(why="The body names no `model`.", code="missing_model", param="model")
    if not isinstance(models[0], str) or not models[0]:
        return BadBody(why="`model` must be the name of a model, a string.", code="invalid_model", param="model")
    return ModelRequest(model=models[0], stream=streams)


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
