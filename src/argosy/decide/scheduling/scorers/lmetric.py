"""LMetric: uncached prompt times batch size, without a parameter. Source: arXiv 2603.15202."""

from argosy.decide.scheduling.plugins import Asked, Column, Columns, Plugin


class LMetric(Plugin, frozen=True, kw_only=True):
    """Cost: blocks of this prompt that it does not hold, times the requests that would be under way."""

    inputs = ("matched", "requests")

    def costs(self, asked: Asked, columns: Columns) -> Column:
        """Give the cost of each candidate."""
        return [
            (asked.size - matched) * (requests + 1.0)
            for matched, requests in zip(columns["matched"], columns["requests"], strict=True)
        ]
