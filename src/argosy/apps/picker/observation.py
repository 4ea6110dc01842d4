"""What engines say of their load, on its way into the picker's beliefs (the `ScrapeOwner`)."""

import time
from collections.abc import Callable, Collection
from typing import Final

from argosy.apps.picker.metrics import PickerMetrics
from argosy.apps.picker.picker import Picker
from argosy.base.endpoint import Endpoint
from argosy.decide.scheduling.loads import ScrapeMark
from argosy.engines.llama_cpp import REQUESTS_RUNNING, REQUESTS_WAITING

MOST_REQUESTS: Final = 1e9
"""What an engine that reports more is taken to have: no engine has that many, and a page may say anything."""


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
        """Whether requests of ours are under way there."""
        return self._picker.loads.held_at(endpoint) > 0

    def scrape_began(self, endpoint: Endpoint) -> ScrapeMark:
        """Note what is held while the engine counts."""
        return self._picker.loads.scrape_began(endpoint)

    def scraped(self, mark: ScrapeMark, families: dict[str, float]) -> None:
        """Take in running and waiting requests; a page without them says nothing."""
        if REQUESTS_RUNNING not in families:
            self.scrape_failed(mark.endpoint, f"no {REQUESTS_RUNNING}")
            return
        requests = families[REQUESTS_RUNNING] + families.get(REQUESTS_WAITING, 0.0)
        self._picker.loads.scraped(mark, int(min(max(requests, 0.0), MOST_REQUESTS)), self._clock())
        self._metrics.scraped(ok=True)

    def scrape_failed(self, _endpoint: Endpoint, _why: str) -> None:
        """Count it; what was known of the endpoint grows old by itself."""
        self._metrics.scraped(ok=False)
