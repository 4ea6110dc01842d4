"""Histograms that cost next to nothing to add to: what prometheus_client's take is a tenth of a pick.

One thread adds; whoever asks gets what has been added by then.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Tally:
    """One series: how many values lie within each bucket, and their sum. `bounds` are upper ones, growing."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def shown(self) -> tuple[list[tuple[str, float]], float]:
        """Give the buckets as Prometheus has them, each with all below it, and the sum."""
        names = (*map(floatToGoString, self._bounds), "+Inf")
        return list(zip(names, map(float, accumulate(self._counts)), strict=True)), self._sum


class Tallies(Collector):
    """A histogram: series by the values of its labels, each made when it is first asked for."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        self._name = name
        self._text = text
        self._bounds = bounds
        self._labels = labels
        self._tallies: dict[tuple[str, ...], Tally] = {}

    def of(self, *values: str) -> Tally:
        """Give the series of these values."""
        tally = self._tallies.get(values)
        if tally is None:
            tally = self._tallies[values] = Tally(self._bounds)
        return tally

    def forget(self, *values: str) -> None:
        """Show the series of these values no longer."""
        self._tallies.pop(values, None)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Give all series."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for values, tally in self._tallies.items():
            family.add_metric(values, *tally.shown())
        yield family
