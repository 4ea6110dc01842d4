"""Whole HTTP replies: JSON, and errors in OpenAI's words."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from argosy.api.openai import INVALID_REQUEST, JSON_CONTENT_TYPE, SERVER_ERROR, UNAVAILABLE, error_body
from argosy.engines.llama_cpp import MAX_REQUEST_BYTES

_RETRY_AFTER_S: Final = "1"


def json_reply(status: int, body: bytes) -> web.Response:
    """A reply whose body is JSON."""
    return web.Response(status=status, body=body, content_type=JSON_CONTENT_TYPE)


def error_reply(status: int, message: str, *, kind: str = INVALID_REQUEST) -> web.Response:
    """An error as OpenAI's clients read it."""
    return json_reply(status, error_body(message, kind=kind))


def unavailable(message: str) -> web.Response:
    """503: nothing has been done for the request, and it may be repeated anywhere."""
    response = error_reply(503, message, kind=UNAVAILABLE)
    response.headers["Retry-After"] = _RETRY_AFTER_S
    response.force_close()
    return response


def relayed_error(chunk: bytes) -> web.Response:
    """llama.cpp's own error, under its own status."""
    error = msgspec.json.decode(chunk)["error"]
    status = int(error["code"])
    return error_reply(status, str(error["message"]), kind=INVALID_REQUEST if status < 500 else SERVER_ERROR)


async def _reworded(
    request: web.Request,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        response = error_reply(413, f"The body is larger than {MAX_REQUEST_BYTES} bytes.")
        response.force_close()
        return response
    except web.HTTPException as error:
        response = error_reply(error.status, f"{request.method} {request.path}: {HTTPStatus(error.status).phrase}.")
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response


openai_errors = web.middleware(_reworded)
"""Says in OpenAI's words what aiohttp refuses by itself: unknown paths, wrong methods, bodies that are too large."""
