"""What the picker counts. Labels are bounded: pools, endpoints and models that exist, and reasons from a fixed list."""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest

from argosy.api.objects import Key
from argosy.apps.picker.leg_metrics import LegMetrics
from argosy.apps.picker.router_metrics import PREFIX, REQUEST_LABELS, Figures, RouterMetrics, request_labels
from argosy.apps.picker.tally import Tallies
from argosy.base.endpoint import Endpoint
from argosy.decide.scheduling.loads import Load

_PICK_BUCKETS_S = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05)
_RATIO_BUCKETS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_BYTES_BUCKETS = (0, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576)
_REQUEST_BUCKETS_S = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


class PickerMetrics:
    """Counters and gauges of one picker, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        counter = functools.partial(Counter, registry=registry)
        gauge = functools.partial(Gauge, registry=registry)
        self._requests = counter("argosy_requests", "Requests that were given an endpoint", ["pool", "model"])
        self._picks = counter(
            "argosy_picks", "Picks of an endpoint, its place as a fallback not counted", ["pool", "endpoint"]
        )
        self._reservations = gauge("argosy_reservations", "Requests under way, from pick to end of answer", ["pool"])
        self._fallback_served = counter(
            "argosy_fallback_served", "Answers by a fallback of the pick's own list", ["pool"]
        )
        self._served_not_picked = counter(
            "argosy_served_not_picked", "Answers by an endpoint that the pick did not name", ["pool"]
        )
        self._refused = counter("argosy_refused", "Requests that the picker answered itself with an error", ["reason"])
        self._scheduling_failures = counter(
            "argosy_scheduling_failures",
            "Requests that the built-in default decided, since a plugin of the scheduling profile failed",
            ["kind", "plugin"],
        )
        # llm-d's name; its labels are bounded as ours are: no word of a client's is among them.
        self._rewrites = counter(
            f"{PREFIX}model_rewrite_decisions",
            "Models that were rewritten: by an InferenceModelRewrite, as its rule says (for all models: empty)",
            ["model_rewrite_name", "model_name", "target_model"],
        )
        self._rewritten: set[tuple[str, str, str]] = set()
        self._scrapes = counter("argosy_scrapes", "Scrapes of engines", ["result"])
        self._decision_lines = counter(
            "argosy_decision_lines",
            "Decisions for the file of them, where one is asked for: written, dropped (the queue is full), failed",
            ["result"],
        )
        self._spans = counter(
            "argosy_spans",
            "Spans of decisions, where a collector is named: made, sent, failed; what is neither waits or was dropped",
            ["result"],
        )
        self._durations = Tallies(
            "argosy_pick_duration_seconds", "From a whole request to its decision", _PICK_BUCKETS_S
        )
        self._pick_seconds = self._durations.of()
        self._scheduling_usable = gauge(
            "argosy_scheduling_file_usable",
            "1 while what the file of the scheduling profile holds is in force, 0 while it is not: see the log",
        )
        self._scheduling_usable.set(1)
        self._ratios = Tallies(
            "argosy_prompt_matched_ratio",
            "Share of a prompt that the picked endpoint is taken to hold in its prefix cache, 0 to 1",
            _RATIO_BUCKETS,
        )
        self._prompt_matched = self._ratios.of()
        self._bytes = Tallies(
            "argosy_prompt_matched_bytes",
            "Bytes of a prompt that the picked endpoint is taken to hold in its prefix cache",
            _BYTES_BUCKETS,
        )
        self._matched_bytes = self._bytes.of()
        self._prefix_blocks = gauge(
            "argosy_prefix_blocks", "Distinct blocks of prompts that endpoints are taken to hold"
        )
        self._streams = gauge("argosy_ext_proc_streams", "ext_proc streams that are open")
        self._held_bytes = gauge(
            "argosy_ext_proc_held_bytes",
            "Bytes held for proxies: bodies that have not come whole, replies that are not taken, tables of headers",
        )
        self._request_seconds = Tallies(
            f"{PREFIX}request_duration_seconds",
            "From a pick to the end of its answer",
            _REQUEST_BUCKETS_S,
            REQUEST_LABELS,
        )
        for tallies in (self._durations, self._ratios, self._bytes, self._request_seconds):
            registry.register(tallies)
        self.legs = LegMetrics(registry)
        self._loads: Callable[[], Mapping[Key, Sequence[Load]]] = dict
        registry.register(RouterMetrics(self._figures))
        self._held: dict[str, int] = {}
        self._running: dict[str, int] = {}
        # Looking up a series by its labels costs more than counting.
        self._counters: dict[tuple[Key, Endpoint, str], tuple[str, Counter, Counter]] = {}
        self._endpoints: set[tuple[str, str]] = set()
        self._models: set[tuple[str, str]] = set()

    def page(self) -> bytes:
        """Give everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def count_streams_with(self, streams: Callable[[], int], held_bytes: Callable[[], int]) -> None:
        """Ask `streams` how many are open, and `held_bytes` what is held, whenever somebody wants to know."""
        self._streams.set_function(streams)
        self._held_bytes.set_function(held_bytes)

    def judge_scheduling_with(self, usable: Callable[[], bool]) -> None:
        """Ask `usable` whether the scheduling file is in force, whenever somebody wants to know."""
        self._scheduling_usable.set_function(usable)

    def count_prefix_blocks_with(self, blocks: Callable[[], int]) -> None:
        """Ask `blocks` how many are in the prefix index, whenever somebody wants to know."""
        self._prefix_blocks.set_function(blocks)

    def matched(self, size_bytes: float, matched_bytes: float) -> None:
        """Count how much of a prompt the picked endpoint holds."""
        self._prompt_matched.add(min(matched_bytes / size_bytes, 1.0))
        self._matched_bytes.add(matched_bytes)

    def show_loads_with(self, loads: Callable[[], Mapping[Key, Sequence[Load]]]) -> None:
        """Ask `loads` what is believed of each pool's ready endpoints, whenever somebody wants to know."""
        self._loads = loads

    def _figures(self) -> Figures:
        requests: dict[str, float] = {}
        for labels, value in _series(self._requests, "argosy_requests_total"):
            requests[labels["model"]] = requests.get(labels["model"], 0.0) + value
        return Figures(
            requests=requests,
            running=dict(self._running),
            refusals={labels["reason"]: value for labels, value in _series(self._refused, "argosy_refused_total")},
            renamed={
                "scheduler_e2e_duration_seconds": self._durations.collect(),
                "prefix_indexer_hit_ratio": self._ratios.collect(),
                "prefix_indexer_hit_bytes": self._bytes.collect(),
                "prefix_indexer_size": self._prefix_blocks.collect(),
            },
            pools=self._loads(),
            disaggregations=self.legs.decisions,
        )

    def picked(self, pool: Key, endpoint: Endpoint, model: str, seconds: float) -> None:
        """Count a pick that took so long; `model` is one of the route table, or empty."""
        counters = self._counters.get((pool, endpoint, model))
        if counters is None:
            name, where = str(pool), str(endpoint)
            self._endpoints.add((name, where))
            self._models.add((name, model))
            counters = (name, self._requests.labels(name, model), self._picks.labels(name, where))
            self._counters[pool, endpoint, model] = counters
        name, requests, picks = counters
        requests.inc()
        picks.inc()
        self._pick_seconds.add(seconds)
        self._hold(name, 1)
        self._running[model] = self._running.get(model, 0) + 1

    def released(self, pool: Key, model: str, seconds: float) -> None:
        """Count the end of a reservation that was held so long."""
        self._hold(str(pool), -1)
        self._running[model] -= 1
        self._request_seconds.of(*request_labels(model)).add(seconds)

    def _hold(self, pool: str, change: int) -> None:
        held = self._held.get(pool)
        if held is None:
            held = 0
            self._reservations.labels(pool).set_function(lambda: self._held.get(pool, 0))
        self._held[pool] = held + change

    def fell_back(self, pool: Key) -> None:
        """Count an answer by a fallback."""
        self._fallback_served.labels(str(pool)).inc()

    def served_elsewhere(self, pool: Key) -> None:
        """Count an answer by an endpoint that was not named."""
        self._served_not_picked.labels(str(pool)).inc()

    def refused(self, reason: str) -> None:
        """Count a refusal; `reason` is one of the names in `answers`."""
        self._refused.labels(reason).inc()

    def scheduling_failed(self, kind: str, plugin: str) -> None:
        """Count a failure of a plugin; `plugin` is its name in a profile."""
        self._scheduling_failures.labels(kind, plugin).inc()

    def rewritten(self, by: Key, model: str, target: str) -> None:
        """Count a request whose model was rewritten by an object, by its rule for this model (empty: for all)."""
        labels = (str(by), model, target)
        self._rewritten.add(labels)
        self._rewrites.labels(*labels).inc()

    def scraped(self, *, ok: bool) -> None:
        """Count a scrape."""
        self._scrapes.labels("ok" if ok else "failed").inc()

    def count_decision_lines(self, result: str, count: int) -> None:
        """Count what became of decisions for the file."""
        self._decision_lines.labels(result).inc(count)

    def count_spans(self, result: str, count: int) -> None:
        """Count what became of spans; any thread may."""
        self._spans.labels(result).inc(count)

    def know(
        self,
        pools: Collection[Key],
        endpoints: Collection[Endpoint],
        models: Collection[str],
        rewrites: Collection[tuple[Key, str, str]] = (),
    ) -> None:
        """Show these pools from the start, at 0, and drop the series of what is gone once no request needs them."""
        for labels in self._rewritten - {(str(by), model, target) for by, model, target in rewrites}:
            self._rewritten.discard(labels)
            self._rewrites.remove(*labels)
        self._counters.clear()
        names, places = {str(pool) for pool in pools}, {str(endpoint) for endpoint in endpoints}
        self.legs.know(names, models, places)
        for name in names - self._held.keys():
            self._hold(name, 0)
            self._fallback_served.labels(name)
            self._served_not_picked.labels(name)
        for name in [name for name, held in self._held.items() if not held and name not in names]:
            del self._held[name]
            for metric in (self._reservations, self._fallback_served, self._served_not_picked):
                metric.remove(name)
        for pool, endpoint in [e for e in self._endpoints if e[0] not in names or e[1] not in places]:
            self._endpoints.discard((pool, endpoint))
            self._picks.remove(pool, endpoint)
        for pool, model in [m for m in self._models if m[0] not in names or (m[1] and m[1] not in models)]:
            self._models.discard((pool, model))
            self._requests.remove(pool, model)
        gone = [model for model, count in self._running.items() if not count and model and model not in models]
        for model in gone:
            del self._running[model]
            self._request_seconds.forget(*request_labels(model))


def _series(metric: Counter, name: str) -> Iterator[tuple[dict[str, str], float]]:
    for family in metric.collect():
        for sample in family.samples:
            if sample.name == name:
                yield sample.labels, sample.value
