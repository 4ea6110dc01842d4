"""What the picker counts of prefill legs. Labels are bounded: pools that exist, outcomes from fixed lists."""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from argosy.apps.picker.tally import Tallies
from argosy.base.endpoint import Endpoint
from argosy.decide.scheduling.deciders.threshold import Verdict
from argosy.engines.moved import Transfer

_LEG_BUCKETS_S: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
_TOKEN_BUCKETS: Final = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 65_536, 262_144)


class LegMetrics:
    """Counters of one picker's legs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._verdicts = Counter(
            "argosy_disaggregation_verdicts",
            "Requests of pools with prefill workers: prefilled there, or why not",
            ["pool", "verdict"],
            registry=registry,
        )
        self._picks = Counter(
            "argosy_prefill_picks", "Picks of a prefill worker for a prompt", ["pool", "endpoint"], registry=registry
        )
        self._legs = Counter(
            "argosy_prefill_legs", "Prefill legs that have ended, by what came of them", ["pool", "outcome"],
            registry=registry,
        )  # fmt: skip
        self._transfers = Counter(
            "argosy_prefill_transfers",
            "Prompts computed by prefill workers, by what became of their KV cache at the decode worker",
            ["pool", "outcome"],
            registry=registry,
        )
        self._under_way = Gauge("argosy_prefill_legs_under_way", "Prefill legs under way", registry=registry)
        self._error = Gauge(
            "argosy_prompt_tokens_error_ratio",
            "How far the latest estimate of a prompt's tokens was off what its engine reported, as a share of that",
            registry=registry,
        )
        self._seconds = Tallies("argosy_prefill_leg_seconds", "Time that a prefill leg took", _LEG_BUCKETS_S, ["pool"])
        self._uncached = Tallies(
            "argosy_prompt_uncached_tokens",
            "Tokens of prompts that were not cached at the decode worker, as estimated for the verdict",
            _TOKEN_BUCKETS,
            ["pool"],
        )
        for tallies in (self._seconds, self._uncached):
            registry.register(tallies)
        self._decisions: dict[tuple[str, bool], int] = {}
        self._labels: set[tuple[str, str]] = set()
        self._places: set[tuple[str, str]] = set()
        self._outcomes: set[tuple[str, str]] = set()
        self._arrivals: set[tuple[str, Transfer]] = set()

    def count_under_way_with(self, count: Callable[[], int]) -> None:
        """Ask `count` how many legs are under way, whenever somebody wants to know."""
        self._under_way.set_function(count)

    @property
    def decisions(self) -> Mapping[tuple[str, bool], int]:
        """Verdicts by model, and by whether they were for a prefill worker."""
        return self._decisions

    def judged(self, pool: str, model: str, verdict: Verdict) -> None:
        """Count a verdict; `model` is one of the route table, or empty."""
        decision = (model, verdict.disaggregates)
        self._decisions[decision] = self._decisions.get(decision, 0) + 1
        self._labels.add((pool, verdict.outcome))
        self._verdicts.labels(pool, verdict.outcome).inc()
        self._uncached.of(pool).add(verdict.uncached_tokens)

    def picked(self, pool: str, endpoint: Endpoint) -> None:
        """Count a pick of a prefill worker."""
        self._places.add((pool, str(endpoint)))
        self._picks.labels(pool, str(endpoint)).inc()

    def ended(self, pool: str, outcome: str, took_s: float) -> None:
        """Count a leg that ended."""
        self._outcomes.add((pool, outcome))
        self._legs.labels(pool, outcome).inc()
        self._seconds.of(pool).add(took_s)

    def transferred(self, pool: str, outcome: Transfer) -> None:
        """Count what became of a KV cache."""
        self._arrivals.add((pool, outcome))
        self._transfers.labels(pool, outcome).inc()

    def estimated(self, estimate: float, tokens: int) -> None:
        """Show how far an estimate was off."""
        self._error.set(abs(estimate - tokens) / tokens)

    def know(self, pools: Collection[str], models: Collection[str], endpoints: Collection[str]) -> None:
        """Drop the series of pools, models and endpoints that are gone."""
        for pool, endpoint in [each for each in self._places if each[0] not in pools or each[1] not in endpoints]:
            self._places.discard((pool, endpoint))
            self._picks.remove(pool, endpoint)
        for decision in [each for each in self._decisions if each[0] and each[0] not in models]:
            del self._decisions[decision]
        for pool, verdict in [each for each in self._labels if each[0] not in pools]:
            self._labels.discard((pool, verdict))
            self._verdicts.remove(pool, verdict)
            self._uncached.forget(pool)
        for pool, outcome in [each for each in self._outcomes if each[0] not in pools]:
            self._outcomes.discard((pool, outcome))
            self._legs.remove(pool, outcome)
            self._seconds.forget(pool)
        for pool, arrival in [each for each in self._arrivals if each[0] not in pools]:
            self._arrivals.discard((pool, arrival))
            self._transfers.remove(pool, arrival)
