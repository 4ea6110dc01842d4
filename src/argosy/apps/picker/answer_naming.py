"""Whether, and how, the model that was asked for can be put into an answer."""

from collections.abc import Mapping
from typing import Final

from argosy.api.model_field import EVENTS, JSON_LINES, AnswerNaming
from argosy.api.openai import JSON_CONTENT_TYPE
from argosy.edge.rpc.ext_proc import ResponseHeaders

_LINES: Final[Mapping[str, bytes | None]] = {
    JSON_CONTENT_TYPE: None,
    "application/problem+json": None,
    "application/x-ndjson": JSON_LINES,
    "application/jsonl": JSON_LINES,
    "text/event-stream": EVENTS,
}
"""What the lines of an answer begin with that have a document each, by content type; None where it is one document."""


def naming_of(head: ResponseHeaders, model: str) -> AnswerNaming | None:
    """Give what names a model in an answer that begins so; None where it can name none: no body, packed, no JSON."""
    kind = head.content_type.partition(";")[0].strip().lower()
    if head.end_of_stream or head.content_encoding.lower() not in ("", "identity") or kind not in _LINES:
        return None
    return AnswerNaming(model, _LINES[kind])
