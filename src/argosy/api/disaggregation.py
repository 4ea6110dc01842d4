"""How a pool splits its requests between prefill and decode workers: one annotation of the InferencePool.

It is read anew with every change of the pool, so thresholds and policies change without a restart of anything.
"""

from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from argosy.api.inference import InferencePool
from argosy.api.objects import Value

ANNOTATION: Final = "argosy.dev/disaggregation"
"""Annotation of an InferencePool: a `Disaggregation` as JSON. A pool without it serves every request by one worker."""

KVProtocol: TypeAlias = Literal["nixlv2", "sglang", "sidecar"]
PrefillFailure: TypeAlias = Literal["decode", "fail"]
DEFAULT_THRESHOLD_TOKENS: Final = 256
DEFAULT_PREFILL_TIMEOUT_S: Final = 30
MAX_PREFILL_TIMEOUT_S: Final = 280


class Disaggregation(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a picker goes by.

    `protocol` says who runs the prefill leg: the picker, by vLLM's NIXL fields or by SGLang's bootstrap fields, or a
    llm-d sidecar beside the decode worker. `bootstrap_port` is that of SGLang's prefill workers.
    """

    threshold_tokens: Annotated[int, Meta(ge=1, le=16_777_216)] = DEFAULT_THRESHOLD_TOKENS
    protocol: KVProtocol = "nixlv2"
    on_prefill_failure: PrefillFailure = "decode"
    prefill_timeout_seconds: Annotated[int, Meta(ge=1, le=MAX_PREFILL_TIMEOUT_S)] = DEFAULT_PREFILL_TIMEOUT_S
    bootstrap_port: Annotated[int, Meta(ge=1, le=65_535)] = 8998


def disaggregation_of(pool: InferencePool) -> Disaggregation | str | None:
    """Read a pool's annotation; None without one, and a sentence where it cannot be read."""
    text = pool.metadata.annotations.get(ANNOTATION)
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=Disaggregation)
    except msgspec.DecodeError as error:
        return f"InferencePool {pool.key}: its requests are not split, for annotation {ANNOTATION} is wrong: {error}"


def annotated(policy: Disaggregation) -> str:
    """Give the annotation's value."""
    return msgspec.json.encode(policy).decode()
