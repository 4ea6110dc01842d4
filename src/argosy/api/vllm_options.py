"""What vLLM can be told beyond what every engine can: fields with bounds, not flags."""

from typing import Annotated, Final

from msgspec import Meta

from argosy.api.objects import Value
from argosy.api.quantity import QUANTITY

BLOCK_STEP: Final = 16
"""Blocks of the KV cache hold a multiple of so many tokens."""


class VLLMOptions(Value, frozen=True, kw_only=True):
    """How vLLM spends time and memory. Its own defaults, where nothing else is said."""

    prefix_caching: Annotated[bool, Meta(description="Keep the KV cache of prompts for others that begin alike.")] = (
        True
    )
    chunked_prefill: Annotated[
        bool, Meta(description="Compute long prompts in pieces, between the tokens of running answers.")
    ] = True
    enforce_eager: Annotated[
        bool | None,
        Meta(description="Compile nothing: a quicker start, slower tokens; by default on CPUs only."),
    ] = None
    block_tokens: Annotated[
        Annotated[int, Meta(ge=BLOCK_STEP, le=256)] | None,
        Meta(description="Tokens of one block of the KV cache, a multiple of 16."),
    ] = None
    max_batched_tokens: Annotated[
        Annotated[int, Meta(ge=64, le=1_048_576)] | None, Meta(description="Tokens computed in one step at most.")
    ] = None
    gpu_memory_percent: Annotated[
        Annotated[int, Meta(ge=1, le=100)] | None,
        Meta(description="The share of a GPU's memory that vLLM takes, for weights and KV cache."),
    ] = None
    kv_cache_memory: Annotated[
        Annotated[str, QUANTITY] | None,
        Meta(
            description="The size of the KV cache on each device, a Kubernetes quantity; by default what is left of a "
            "GPU's share, and on CPUs what parallelRequests need, or 1Gi where that is not known."
        ),
    ] = None
    max_adapter_rank: Annotated[
        int, Meta(ge=1, le=512, description="The largest rank of the model's LoRA adapters.")
    ] = 64
