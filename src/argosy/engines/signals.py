"""What engines say of their load, each under names of its own, as the same few values.

Source: llm-d's router, docs/plugin-metric-protocol.md and its core-metrics-extractor.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final

import msgspec

from argosy.api.names import ENGINE_LABEL
from argosy.engines.llama_cpp import SLOTS_LABEL

OLDER_ENGINE_LABEL: Final = "inference.networking.k8s.io/engine-type"
MOST: Final = 1e9
"""What an engine that reports more requests or blocks is taken to have: none has that many, and a page may say
anything."""
MAX_ADAPTERS: Final = 256
MAX_NAME: Final = 256
Series = Callable[[str], Iterable[tuple[Mapping[str, str], float]]]
"""Gives the labels and the value of each series of a family."""


class Signals(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one page says: requests, the share of the KV cache in use (0 to 1), the cache's size, adapters.

    None is what the engine does not tell. `block_tokens` are the tokens of one of the `cache_blocks`. An engine that
    keeps one sequence in each slot of its cache has so many `cache_slots`, others have 0. Since the engine's start,
    of `prefix_queries` tokens that were looked up in the prefix cache `prefix_hits` were there, and the prompts of so
    many requests that `ended` had so many `prompt_tokens`.
    """

    running: float
    waiting: float = 0.0
    kv_usage: float | None = None
    cache_blocks: int | None = None
    block_tokens: int | None = None
    cache_slots: int = 0
    prefix_queries: float = 0.0
    prefix_hits: float = 0.0
    ended: float | None = None
    prompt_tokens: float | None = None
    adapters: frozenset[str] = frozenset()

    @property
    def requests(self) -> int:
        """Requests under way, running and waiting."""
        return int(self.running + self.waiting)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Where a value stands: in the series of a family that have a label, if one is named, or in a label's value."""

    family: str
    having: tuple[str, str] | None = None
    in_label: str | None = None


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """Where one engine has its values."""

    running: Reading
    waiting: Reading
    kv_usage: Reading | None = None
    cache_blocks: Reading | None = None
    block_tokens: Reading | None = None
    cache_slots: Reading | None = None
    prefix_queries: Reading | None = None
    prefix_hits: Reading | None = None
    ended: Reading | None = None
    prompt_tokens: Reading | None = None
    adapters: tuple[str, tuple[str, ...]] | None = None
    """A family, and its labels that hold names of adapters, with commas between."""


VLLM: Final = "vllm"
_TRITON_REQUESTS: Final = "nv_trt_llm_request_metrics"
_TRITON_CACHE: Final = "nv_trt_llm_kv_cache_block_metrics"


def _triton_cache(kind: str) -> Reading:
    return Reading(family=_TRITON_CACHE, having=("kv_cache_block_type", kind))


DIALECTS: Final[Mapping[str, Dialect]] = {
    VLLM: Dialect(
        running=Reading(family="vllm:num_requests_running"),
        waiting=Reading(family="vllm:num_requests_waiting"),
        kv_usage=Reading(family="vllm:kv_cache_usage_perc"),
        cache_blocks=Reading(family="vllm:cache_config_info", in_label="num_gpu_blocks"),
        block_tokens=Reading(family="vllm:cache_config_info", in_label="block_size"),
        cache_slots=Reading(family="vllm:cache_config_info", in_label=SLOTS_LABEL),
        prefix_queries=Reading(family="vllm:prefix_cache_queries_total"),
        prefix_hits=Reading(family="vllm:prefix_cache_hits_total"),
        ended=Reading(family="vllm:request_success_total"),
        prompt_tokens=Reading(family="vllm:prompt_tokens_total"),
        adapters=("vllm:lora_requests_info", ("running_lora_adapters", "waiting_lora_adapters")),
    ),
    "sglang": Dialect(
        running=Reading(family="sglang:num_running_reqs"),
        waiting=Reading(family="sglang:num_queue_reqs"),
        kv_usage=Reading(family="sglang:token_usage"),
        cache_blocks=Reading(family="sglang:cache_config_info", in_label="num_pages"),
        block_tokens=Reading(family="sglang:cache_config_info", in_label="page_size"),
    ),
    "trtllm-serve": Dialect(
        running=Reading(family="trtllm_num_requests_running"),
        waiting=Reading(family="trtllm_num_requests_waiting"),
        kv_usage=Reading(family="trtllm_kv_cache_utilization"),
        cache_blocks=Reading(family="trtllm_kv_cache_max_blocks"),
        block_tokens=Reading(family="trtllm_kv_cache_tokens_per_block"),
    ),
    "triton-tensorrt-llm": Dialect(
        running=Reading(family=_TRITON_REQUESTS, having=("request_type", "scheduled")),
        waiting=Reading(family=_TRITON_REQUESTS, having=("request_type", "waiting")),
        kv_usage=_triton_cache("fraction"),
        cache_blocks=_triton_cache("max"),
        block_tokens=_triton_cache("tokens_per"),
    ),
    "triton": Dialect(
        running=Reading(family="nv_inference_exec_count"),
        waiting=Reading(family="nv_inference_pending_request_count"),
    ),
}


def dialect_of(labels: Mapping[str, str]) -> Dialect:
    """Give the dialect of a pod by its labels; vLLM's, which our own server speaks too, where they name no other."""
    engine = labels.get(ENGINE_LABEL) or labels.get(OLDER_ENGINE_LABEL)
    return DIALECTS.get(engine or VLLM, DIALECTS[VLLM])


def signals_of(dialect: Dialect, series: Series) -> Signals | None:
    """Give what a page says; None when it does not say how many requests run.

    Of several engines behind one page (data parallel) requests and blocks add up, and usage is their mean.
    """
    running = _values(dialect.running, series)
    if not running:
        return None
    usage, blocks, tokens = (
        _values(each, series) for each in (dialect.kv_usage, dialect.cache_blocks, dialect.block_tokens)
    )
    return Signals(
        running=_bounded(sum(running)),
        waiting=_bounded(sum(_values(dialect.waiting, series))),
        kv_usage=min(sum(usage) / len(usage), 1.0) if usage else None,
        cache_blocks=int(_bounded(sum(blocks))) or None,
        block_tokens=int(_bounded(max(tokens, default=0.0))) or None,
        cache_slots=int(_bounded(sum(_values(dialect.cache_slots, series)))),
        prefix_queries=sum(_values(dialect.prefix_queries, series)),
        prefix_hits=sum(_values(dialect.prefix_hits, series)),
        ended=_total(dialect.ended, series),
        prompt_tokens=_total(dialect.prompt_tokens, series),
        adapters=_adapters(dialect.adapters, series),
    )


def _adapters(reading: tuple[str, tuple[str, ...]] | None, series: Series) -> frozenset[str]:
    """Give the adapters of the latest series, whose value is the time of its writing."""
    if reading is None:
        return frozenset()
    found, names = reading
    labels, _ = max(series(found), key=lambda each: each[1], default=({}, 0.0))
    words = (word.strip()[:MAX_NAME] for name in names for word in labels.get(name, "").split(","))
    return frozenset(islice((word for word in words if word), MAX_ADAPTERS))


def _values(reading: Reading | None, series: Series) -> list[float]:
    """Give the finite values that are at least 0; a page may hold anything."""
    if reading is None:
        return []
    found = (
        value if reading.in_label is None else _number(labels.get(reading.in_label, ""))
        for labels, value in series(reading.family)
        if reading.having is None or labels.get(reading.having[0]) == reading.having[1]
    )
    return [value for value in found if math.isfinite(value) and value >= 0.0]


def _total(reading: Reading | None, series: Series) -> float | None:
    found = _values(reading, series)
    return sum(found) if found else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # "None", where vLLM has not counted yet
        return math.nan


def _bounded(value: float) -> float:
    return min(value, MOST)
