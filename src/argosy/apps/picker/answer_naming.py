"""Whether, and how, the model that was asked for can be put into an answer."""

from argosy.api.model_field import AnswerNaming
from argosy.edge.rpc.ext_proc import ResponseHeaders


def naming_of(head: ResponseHeaders, model: str) -> AnswerNaming | None:
    """Give what names a model in an answer that begins so; None where it can name none: no body, packed, no JSON."""
    if head.end_of_stream or head.content_encoding.lower() not in ("", "identity"):
        return None
    kind = head.content_type.partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return AnswerNaming(model, events=True)
    return AnswerNaming(model, events=False) if kind.endswith("json") else None
