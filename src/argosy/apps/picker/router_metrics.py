"""The picker's figures under the names of llm-d's router, which dashboards and alerts that exist read.

Rules of this file:

- Nothing is counted for it: when somebody asks, all is made of what the picker has counted and what it believes.
- Labels are llm-d's. Who a client is, is not known here: `fairness_id` is `default-flow`, `priority` 0. A pool's name
  carries its namespace, as pools of all namespaces are served by the same picker.
- What would take the tokens of answers, which a picker does not see, is absent.

Source: llm-d's router, docs/metrics.md.
"""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from argosy import __version__
from argosy.api.objects import Key
from argosy.decide.scheduling.loads import Load

PREFIX: Final = "llm_d_epp_"
REQUEST_LABELS: Final = ("model_name", "target_model_name", "fairness_id", "priority")
_ERROR_CODES: Final = {
    "model_not_found": "NotFound",
    "no_route": "NotFound",
    "no_backends": "Internal",
    "no_endpoints": "ServiceUnavailable",
}
"""By the picker's reason; all others are the request's own fault."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the picker knows: requests by model, refusals by reason, pools' ready endpoints.

    `renamed` are families of ours, by the name that the router has for the same. `disaggregations` are verdicts by
    model and by whether a prefill worker was chosen.
    """

    requests: Mapping[str, float] = {}
    running: Mapping[str, float] = {}
    refusals: Mapping[str, float] = {}
    renamed: Mapping[str, Iterable[Metric]] = {}
    pools: Mapping[Key, Sequence[Load]] = {}
    disaggregations: Mapping[tuple[str, bool], int] = {}


class RouterMetrics(Collector):
    """Gives families made of `figures`, which is asked each time."""

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Give all families, those without series too."""
        figures = self._figures()
        yield _build()
        yield from _requests(figures)
        yield _disaggregations(figures.disaggregations)
        yield from _pools(figures.pools)
        for name, families in figures.renamed.items():
            yield from (_renamed(metric, name) for metric in families)


def request_labels(model: str) -> tuple[str, str, str, str]:
    """Give the values of `REQUEST_LABELS` for a request of a model, which is asked for by its own name."""
    return model, model, "default-flow", "0"


def _build() -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}info", "Build info", labels=("commit", "build_ref"))
    family.add_metric(("", f"argosy-{__version__}"), 1)
    return family


def _requests(figures: Figures) -> Iterator[Metric]:
    total = CounterMetricFamily(f"{PREFIX}request", "Requests that were given an endpoint", labels=REQUEST_LABELS)
    for model, count in figures.requests.items():
        total.add_metric(request_labels(model), count)
    yield total
    running = GaugeMetricFamily(f"{PREFIX}request_running", "Requests in flight", labels=REQUEST_LABELS)
    for model, count in figures.running.items():
        running.add_metric(request_labels(model), count)
    yield running
    labels = (*REQUEST_LABELS, "error_code")
    errors = CounterMetricFamily(f"{PREFIX}request_error", "Requests that the picker refused", labels=labels)
    by_code: dict[str, float] = {}
    for reason, count in figures.refusals.items():
        code = _ERROR_CODES.get(reason, "BadRequest")
        by_code[code] = by_code.get(code, 0.0) + count
    for code, count in by_code.items():
        errors.add_metric((*request_labels(""), code), count)
    yield errors


def _disaggregations(decisions: Mapping[tuple[str, bool], int]) -> Metric:
    family = CounterMetricFamily(
        f"{PREFIX}disagg_decision",
        "Requests of pools with prefill workers, by what serves them",
        labels=("model_name", "decision_type"),
    )
    for (model, is_split), count in decisions.items():
        family.add_metric((model, "prefill-decode" if is_split else "decode-only"), count)
    return family


def _pools(pools: Mapping[Key, Sequence[Load]]) -> Iterator[Metric]:
    ready = GaugeMetricFamily(f"{PREFIX}ready_endpoints", "Endpoints that are ready", labels=("name",))
    each = GaugeMetricFamily(
        f"{PREFIX}per_endpoint_queue_size",
        "Requests that wait at an endpoint",
        labels=("name", "model_server_endpoint"),
    )
    for pool, loads in pools.items():
        ready.add_metric((str(pool),), len(loads))
        for load in loads:
            if load.signals is not None:
                each.add_metric((str(pool), str(load.endpoint)), load.signals.waiting)
    yield from (ready, each)
    for name, text, value in (
        ("queue_size", "requests that wait", _waiting),
        ("running_requests", "requests that run", _running),
        ("kv_cache_utilization", "the share of the KV cache in use, 0 to 1", _kv_usage),
    ):
        mean = GaugeMetricFamily(f"{PREFIX}average_{name}", f"Mean over endpoints: {text}", labels=("name",))
        spread = GaugeMetricFamily(f"{PREFIX}std_dev_{name}", f"Standard deviation: {text}", labels=("name",))
        for pool, loads in pools.items():
            values = [found for load in loads if (found := value(load)) is not None]
            if values:
                mean.add_metric((str(pool),), statistics.fmean(values))
                spread.add_metric((str(pool),), statistics.pstdev(values))
        yield from (mean, spread)


def _waiting(load: Load) -> float | None:
    return None if load.signals is None else load.signals.waiting


def _running(load: Load) -> float | None:
    return None if load.signals is None else load.signals.running


def _kv_usage(load: Load) -> float | None:
    return None if load.signals is None else load.signals.kv_usage


def _renamed(metric: Metric, name: str) -> Metric:
    renamed = Metric(f"{PREFIX}{name}", metric.documentation, metric.type)
    renamed.samples = [
        sample._replace(name=sample.name.replace(metric.name, renamed.name, 1)) for sample in metric.samples
    ]
    return renamed
