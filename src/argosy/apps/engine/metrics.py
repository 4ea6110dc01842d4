"""What this engine measures, under vLLM's names.

Rules of this file:
- A family that cannot be filled truly is absent: `vllm:kv_cache_usage_perc` is, because llama.cpp does not tell.
- Tokens are counted when an answer ends, from llama.cpp's own usage; answers that were given up count as `abort` only.
- The first gap between tokens and all later ones are measured in the generating thread, where they happen.

Source of the names: vLLM, `v1/metrics/loggers.py`.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from argosy.apps.engine.answer import Answer, is_token
from argosy.engines import llama_cpp as names

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_FIRST_TOKEN_S: Final = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    20,
    40,
    80,
)
_TOKEN_S: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_REQUEST_S: Final = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920)
_TRANSFER_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 5)
_TRANSFER_BYTES: Final = tuple(2.0 ** (10 + power) for power in range(1, 25, 2))
_REASONS: Final = {"tool_calls": "stop"}
"""vLLM counts a call of a tool as a plain stop."""


class Metrics:
    """The registry of one engine and what it counts."""

    def __init__(self, model: str) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._model = model
        self._queries = self._counter(names.PREFIX_CACHE_QUERIES, "Prompt tokens looked up in the prefix cache.")
        self._hits = self._counter(names.PREFIX_CACHE_HITS, "Prompt tokens found in the prefix cache.")
        self._prompt = self._counter(names.PROMPT_TOKENS, "Prompt tokens.")
        self._cached = self._counter(names.PROMPT_TOKENS_CACHED, "Prompt tokens that were not computed again.")
        self._external_queries = self._counter(names.EXTERNAL_CACHE_QUERIES, "Prompt tokens looked for elsewhere.")
        self._external_hits = self._counter(names.EXTERNAL_CACHE_HITS, "Prompt tokens from other engines.")
        self._sources = Counter(
            names.PROMPT_TOKENS_BY_SOURCE,
            "Prompt tokens, by where their part of the KV cache came from.",
            [names.MODEL_LABEL, "source"],
            registry=self._registry,
        )
        self._generated = self._counter(names.GENERATION_TOKENS, "Generated tokens.")
        self._ended = Counter(
            names.REQUEST_SUCCESS,
            "Requests that ended, by reason.",
            [names.MODEL_LABEL, "finished_reason"],
            registry=self._registry,
        )
        self._first = self._histogram(names.TIME_TO_FIRST_TOKEN, "Arrival to first token, in s.", _FIRST_TOKEN_S)
        self._gap = self._histogram(names.INTER_TOKEN_LATENCY, "Between two tokens, in s.", _TOKEN_S)
        self._whole = self._histogram(names.E2E_LATENCY, "Arrival to last token, in s.", _REQUEST_S)
        self._queued = self._histogram(names.QUEUE_TIME, "Arrival to a slot, in s.", _REQUEST_S)

        self._transfer_s = self._histogram(names.TRANSFER_TIME, "Of a KV cache from its engine, in s.", _TRANSFER_S)
        self._transfer_bytes = self._histogram(names.TRANSFER_BYTES, "Of a KV cache that came.", _TRANSFER_BYTES)
        self._failed_transfers = self._counter(names.FAILED_TRANSFERS, "KV caches that did not come.")
        self._expired = self._counter(names.EXPIRED_STATES, "KV caches that nobody came for in time.")
        self._not_held = self._counter(names.STATES_NOT_HELD, "KV caches that there was no room for.")

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, [names.MODEL_LABEL], registry=self._registry).labels(self._model)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        family = Histogram(name, text, [names.MODEL_LABEL], registry=self._registry, buckets=buckets)
        return family.labels(self._model)

    def show_load(self, *, running: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Read the gauges from these functions whenever somebody asks."""
        for name, text, value in (
            (names.REQUESTS_RUNNING, "Requests in a slot.", running),
            (names.REQUESTS_WAITING, "Requests that wait for a slot.", waiting),
        ):
            self._show(name, text, value)

    def show_adapters(
        self, most: int, *, running: Callable[[], Collection[str]], waiting: Callable[[], Collection[str]]
    ) -> None:
        """Read the names of adapters with requests from these functions; there are `most` adapters."""
        self._registry.register(_Adapters(most, running, waiting))

    def show_held(self, *, states: Callable[[], int], taken_bytes: Callable[[], int]) -> None:
        """Read the gauges of states that wait to be pulled from these functions."""
        self._show(names.STATES_HELD, "KV caches that wait for another engine, or are on their way.", states)
        self._show(names.STATES_BYTES, "Bytes that KV caches outside slots take.", taken_bytes)

    def _show(self, name: str, text: str, value: Callable[[], int]) -> None:
        gauge = Gauge(name, text, [names.MODEL_LABEL], registry=self._registry)
        gauge.labels(self._model).set_function(value)

    def show_cache(self, *, slots: int, slot_tokens: int) -> None:
        """Show how much the prefix cache holds: a block of it is a slot, which keeps the tokens of its last request."""
        gauge = Gauge(
            names.CACHE_CONFIG_INFO,
            "The prefix cache, in its labels.",
            [names.MODEL_LABEL, *names.CACHE_CONFIG_LABELS],
            registry=self._registry,
        )
        gauge.labels(self._model, slot_tokens, slots, slots).set(1)

    def watch(self) -> "Watch":
        """Begin to measure a request that has just arrived."""
        return Watch(first=self._first, gap=self._gap, whole=self._whole, queued=self._queued)

    def count_end(self, answer: Answer | None, moved_tokens: int = 0) -> None:
        """Count a request that ended; no answer means that it was given up.

        Up to `moved_tokens` of what was not computed came from another engine, the rest was here.
        """
        reason = (answer and answer.finish_reason) or "abort"
        self._ended.labels(self._model, _REASONS.get(reason, reason)).inc()
        if answer is not None and answer.usage is not None:
            usage = answer.usage
            external = min(moved_tokens, usage.cached_tokens)
            local = usage.cached_tokens - external
            self._queries.inc(usage.prompt_tokens)
            self._hits.inc(local)
            if moved_tokens:
                self._external_queries.inc(usage.prompt_tokens)
                self._external_hits.inc(external)
            computed = usage.prompt_tokens - usage.cached_tokens
            for source, tokens in zip(names.SOURCES, (computed, local, external), strict=True):
                self._sources.labels(self._model, source).inc(tokens)
            self._prompt.inc(usage.prompt_tokens)
            self._cached.inc(usage.cached_tokens)
            self._generated.inc(usage.completion_tokens)

    def note_transfer(self, *, seconds: float, size_bytes: int) -> None:
        """A KV cache has come, and is in its slot."""
        self._transfer_s.observe(seconds)
        self._transfer_bytes.observe(size_bytes)

    def count_failed_transfer(self) -> None:
        """A KV cache did not come; its prompt is computed here."""
        self._failed_transfers.inc()

    def count_expired(self) -> None:
        """Nobody came for a KV cache in time."""
        self._expired.inc()

    def count_not_held(self) -> None:
        """There was no room to keep a KV cache."""
        self._not_held.inc()

    def show_start(self, start_s: Mapping[str, float]) -> None:
        """Show how long each phase of the start took, in seconds."""
        for phase, name in names.START_SECONDS.items():
            Gauge(name, f"Seconds of the start that went into: {phase}.", registry=self._registry).set(start_s[phase])

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)


class _Adapters(Collector):
    """The adapters that have requests: one series, whose value is the time at which it was true."""

    def __init__(self, most: int, *named: Callable[[], Collection[str]]) -> None:
        self._most = most
        self._named = named

    def collect(self) -> Iterator[GaugeMetricFamily]:
        running, waiting = (",".join(sorted(filter(None, names()))) for names in self._named)
        family = GaugeMetricFamily(names.ADAPTERS_INFO, "Adapters with requests.", labels=names.ADAPTERS_LABELS)
        family.add_metric((str(self._most), waiting, running), time.time())
        yield family


class Watch:
    """The times of one request."""

    def __init__(self, *, first: Histogram, gap: Histogram, whole: Histogram, queued: Histogram) -> None:
        self._first, self._gap, self._whole, self._queued = first, gap, whole, queued
        self._arrived_s = time.monotonic()
        self._token_s: float | None = None

    def note_slot(self) -> None:
        """The request has a slot."""
        self._queued.observe(time.monotonic() - self._arrived_s)

    def note_chunk(self, chunk: bytes) -> None:
        """A chunk came. Called in the generating thread."""
        if not is_token(chunk):
            return
        now_s = time.monotonic()
        if self._token_s is None:
            self._first.observe(now_s - self._arrived_s)
        else:
            self._gap.observe(now_s - self._token_s)
        self._token_s = now_s

    def note_end(self) -> None:
        """The answer is complete."""
        self._whole.observe(time.monotonic() - self._arrived_s)
