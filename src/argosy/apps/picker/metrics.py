"""What the picker counts. Labels are bounded: pools, endpoints and models that exist, and reasons from a fixed list."""

from collections.abc import Callable, Collection

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint

_PICK_BUCKETS_S = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05)


class PickerMetrics:
    """Counters and gauges of one picker, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "argosy_requests", "Requests that were given an endpoint", ["pool", "model"], registry=registry
        )
        self._picks = Counter(
            "argosy_picks",
            "Picks of an endpoint, its place as a fallback not counted",
            ["pool", "endpoint"],
            registry=registry,
        )
        self._reservations = Gauge(
            "argosy_reservations", "Requests under way, from pick to end of answer", ["pool"], registry=registry
        )
        self._fallback_served = Counter(
            "argosy_fallback_served", "Answers by a fallback of the pick's own list", ["pool"], registry=registry
        )
        self._served_not_picked = Counter(
            "argosy_served_not_picked",
            "Answers by an endpoint that the pick did not name",
            ["pool"],
            registry=registry,
        )
        self._refused = Counter(
            "argosy_refused", "Requests that the picker answered itself with an error", ["reason"], registry=registry
        )
        self._scrapes = Counter("argosy_scrapes", "Scrapes of engines", ["result"], registry=registry)
        self._pick_seconds = Histogram(
            "argosy_pick_duration_seconds",
            "From a whole request to its decision",
            buckets=_PICK_BUCKETS_S,
            registry=registry,
        )
        self._streams = Gauge("argosy_ext_proc_streams", "ext_proc streams that are open", registry=registry)
        self._held: dict[str, int] = {}
        # Looking up a series by its labels costs more than counting.
        self._counters: dict[tuple[Key, Endpoint, str], tuple[str, Counter, Counter]] = {}
        self._endpoints: set[tuple[str, str]] = set()
        self._models: set[tuple[str, str]] = set()

    def page(self) -> bytes:
        """Give everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def count_streams_with(self, streams: Callable[[], int]) -> None:
        """Ask `streams` how many are open, whenever somebody wants to know."""
        self._streams.set_function(streams)

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
        self._pick_seconds.observe(seconds)
        self._hold(name, 1)

    def released(self, pool: Key) -> None:
        """Count the end of a reservation."""
        self._hold(str(pool), -1)

    def _hold(self, pool: str, change: int) -> None:
        held = self._held[pool] = self._held.get(pool, 0) + change
        self._reservations.labels(pool).set(held)

    def fell_back(self, pool: Key) -> None:
        """Count an answer by a fallback."""
        self._fallback_served.labels(str(pool)).inc()

    def served_elsewhere(self, pool: Key) -> None:
        """Count an answer by an endpoint that was not named."""
        self._served_not_picked.labels(str(pool)).inc()

    def refused(self, reason: str) -> None:
        """Count a refusal; `reason` is one of the names in `answers`."""
        self._refused.labels(reason).inc()

    def scraped(self, *, ok: bool) -> None:
        """Count a scrape."""
        self._scrapes.labels("ok" if ok else "failed").inc()

    def know(self, pools: Collection[Key], endpoints: Collection[Endpoint], models: Collection[str]) -> None:
        """Show these pools from the start, at 0, and drop the series of what is gone once no request needs them."""
        self._counters.clear()
        names, places = {str(pool) for pool in pools}, {str(endpoint) for endpoint in endpoints}
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
