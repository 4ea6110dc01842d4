"""What the picker answers by itself: OpenAI's JSON with a status, a sentence and a reason that is counted.

The reasons are the values of the metric's label `reason`, and the details in Envoy's access log.
"""

from collections.abc import Collection
from typing import Final

import msgspec

from argosy.api import openai
from argosy.api.names import DROPPED_REASON, MAX_BODY_BYTES
from argosy.api.objects import Key
from argosy.apps.picker.world import PoolView
from argosy.decide.scheduling.eligible import why_removed
from argosy.edge.rpc.ext_proc import Answer

_JSON: Final = ("content-type", openai.JSON_CONTENT_TYPE)


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is an error, and the reason under which it is counted."""

    reason: str
    answer: Answer


def models(names: Collection[str]) -> Answer:
    """Answer `GET /v1/models`."""
    return Answer(status=200, body=openai.model_list(names), headers=(_JSON,), details="argosy_models")


def bad_body(problem: openai.BadBody) -> Refusal:
    """Refuse a body that cannot be read: 400."""
    body = openai.error_body(problem.why, kind=openai.INVALID_REQUEST, code=problem.code, param=problem.param)
    return _refusal("bad_body", 400, body)


def too_large(body_bytes: int, *, at_least: bool = False) -> Refusal:
    """Refuse a body above the limit: 413. `at_least` for one that has not come whole."""
    size = f"at least {body_bytes}" if at_least else body_bytes
    sentence = f"The body has {size} bytes; at most {MAX_BODY_BYTES} are taken."
    return _refusal("too_large", 413, openai.error_body(sentence, kind=openai.INVALID_REQUEST, code="body_too_large"))


def overloaded() -> Refusal:
    """Refuse a body that there is no room for beside all those that are on their way: 429."""
    sentence = "Too many request bodies are on their way at this moment; try again."
    body = openai.error_body(sentence, kind=openai.RATE_LIMIT, code="overloaded")
    return _refusal("overloaded", 429, body, (DROPPED_REASON, "rejected-saturated"))


def encoded(encoding: str) -> Refusal:
    """Refuse a body that is compressed: 415. Unpacking it would be a way to fill our memory."""
    sentence = f"The body has content-encoding {encoding[:40]}; send it as it is."
    return _refusal("encoded", 415, openai.error_body(sentence, kind=openai.INVALID_REQUEST, code="encoded_body"))


def unknown_model(model: str, served: Collection[str]) -> Refusal:
    """Refuse a model that no route leads to: 404."""
    return _refusal("model_not_found", 404, openai.model_not_found(model, served))


def no_route(method: str, path: str) -> Refusal:
    """Refuse a request that no route takes: 404."""
    sentence = f"Nothing is served at {method[:16]} {path.partition('?')[0][:200]}."
    return _refusal("no_route", 404, openai.error_body(sentence, kind=openai.INVALID_REQUEST, code="not_found"))


def no_backends(route: Key) -> Refusal:
    """Refuse a request whose route leads nowhere, as the Gateway API says: 500."""
    sentence = f"HTTPRoute {route} has no backend that exists; see its status."
    return _refusal("no_backends", 500, openai.error_body(sentence, kind=openai.SERVER_ERROR, code="no_backends"))


def no_endpoints(pool: Key, view: PoolView | None, model: str | None, *, in_subset: bool) -> Refusal:
    """Refuse a request that no replica can take now: 503."""
    body = openai.error_body(
        _why_none(pool, view, model, in_subset=in_subset), kind=openai.UNAVAILABLE, code="no_endpoints"
    )
    return _refusal("no_endpoints", 503, body, (DROPPED_REASON, "rejected-no-endpoints"))


def reserved_field(name: str) -> Refusal:
    """Refuse a body with a field by which engines are told whose KV cache to read: 400. A client must not name it."""
    sentence = f"`{name}` is between the gateway and its engines; leave it out."
    return _refusal(
        "reserved_field",
        400,
        openai.error_body(sentence, kind=openai.INVALID_REQUEST, code="reserved_field", param=name),
    )


def prefill_failed() -> Refusal:
    """Refuse a request that no prefill worker does its part of, in a pool that has no other way: 503."""
    sentence = "No prefill worker has computed the prompt; try again."
    body = openai.error_body(sentence, kind=openai.UNAVAILABLE, code="prefill_failed")
    return _refusal("prefill_failed", 503, body, (DROPPED_REASON, "prefill-failed"))


def _why_none(pool: Key, view: PoolView | None, model: str | None, *, in_subset: bool) -> str:
    if view is None:
        return f"InferencePool {pool} does not exist."
    if not view.endpoints:
        return f"Service `{view.service}` has no running replica (replicas 0, or all of them are starting)."
    answering = [e for e in view.endpoints if e.answers]
    if not any(e.ready for e in answering):
        kind = "replicas" if len(answering) == len(view.endpoints) else "decode workers"
        return f"Service `{view.service}` has {len(answering)} {kind}, none of them ready; try again."
    if all(why_removed(each, None, model) for each in view.endpoints):
        return f"No replica of service `{view.service}` that is ready serves `{model}` yet; try again."
    if in_subset:
        return f"None of the ready replicas of service `{view.service}` is in the subset that the proxy allows."
    return f"Service `{view.service}` cannot take this request."


def _refusal(reason: str, status: int, body: bytes, *headers: tuple[str, str]) -> Refusal:
    return Refusal(
        reason=reason,
        answer=Answer(status=status, body=body, headers=(_JSON, *headers), details=f"argosy_{reason}"),
    )
