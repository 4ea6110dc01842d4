"""What the operator counts."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest


class OperatorMetrics:
    """Counters and gauges of one operator, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.reconciled = Counter(
            "argosy_reconciles", "Passes over one service, by how they ended", ["result"], registry=registry
        )
        self.reconcile_seconds = Histogram("argosy_reconcile_seconds", "Seconds of one pass", registry=registry)
        self._leading = Gauge("argosy_leading", "1 while this process leads", registry=registry)
        self._waiting = Gauge("argosy_queue_length", "Services that wait for a pass", registry=registry)

    def show(self, *, leading: Callable[[], bool], waiting: Callable[[], int]) -> None:
        """Show these whenever somebody looks."""
        self._leading.set_function(lambda: float(leading()))
        self._waiting.set_function(lambda: float(waiting()))

    def page(self) -> bytes:
        """Give everything in Prometheus' text format."""
        return generate_latest(self._registry)
