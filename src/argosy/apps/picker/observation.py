"""What engines say of their load, on its way into the picker's beliefs (the `ScrapeOwner`)."""

import time
from collections.abc import Callable, Collection

from argosy.apps.picker.metrics import PickerMetrics
from argosy.apps.picker.picker import Picker
from argosy.base.endpoint import Endpoint
from argosy.decide.scheduling.loads import ScrapeMark
from argosy.edge.http.exposition import family
from argosy.engines.signals import signals_of


class EngineObserver:
    """Corrects the picker's counts by what the engines of its world report."""

    def __init__(
        self, picker: Picker, metrics: PickerMetrics, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._picker = picker
        self._metrics = metrics
        self._clock = clock

    def targets(self) -> Collection[Endpoint]:
        """Every ready endpoint."""
        return self._picker.world.ready_endpoints

    def busy(self, endpoint: Endpoint) -> bool:
        """Whether requests are under way there, ours or others'."""
        return self._picker.beliefs.loads.requests_at(endpoint) > 0

    def scrape_began(self, endpoint: Endpoint) -> ScrapeMark:
        """Note what is held while the engine counts."""
        return self._picker.beliefs.loads.scrape_began(endpoint)

    def scraped(self, mark: ScrapeMark, page: bytes) -> None:
        """Take in what the page says, in the words of the pod's engine; one that names no requests says nothing."""
        dialect = self._picker.world.dialects.get(mark.endpoint)
        signals = None if dialect is None else signals_of(dialect, lambda name: family(page, name))
        if signals is None:
            self.scrape_failed(mark.endpoint, "no count of requests")
            return
        self._picker.beliefs.scraped(mark, signals, self._clock())
        self._metrics.scraped(ok=True)

    def scrape_failed(self, _endpoint: Endpoint, _why: str) -> None:
        """Count it; what was known of the endpoint grows old by itself."""
        self._metrics.scraped(ok=False)
