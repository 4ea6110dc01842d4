"""The scorers that users of llm-d weigh against each other. A score of 1 there is a cost of 0 here.

Source: llm-d-router, queue-scorer, kv-cache-utilization-scorer, prefix-cache-scorer.
"""

from argosy.decide.scheduling.plugins import Asked, Column, Columns, Plugin


class Queue(Plugin, frozen=True, kw_only=True):
    """Cost: where it stands between the shortest queue, 0, and the longest, 1; 0 where all are equal.

    Queues are counted at picks: requests under way, and not only those that an engine says are waiting.
    """

    inputs = ("requests",)

    def costs(self, _asked: Asked, columns: Columns) -> Column:
        """Give the cost of each candidate, from 0 to 1."""
        requests = columns["requests"]
        shortest, longest = min(requests), max(requests)
        span = (longest - shortest) or 1.0
        return [(each - shortest) / span for each in requests]


class KvUsage(Plugin, frozen=True, kw_only=True):
    """Cost: the share of its KV cache that is in use."""

    inputs = ("kv_usage",)

    def costs(self, _asked: Asked, columns: Columns) -> Column:
        """Give the cost of each candidate, from 0 to 1."""
        return columns["kv_usage"]


class Prefix(Plugin, frozen=True, kw_only=True):
    """Cost: the share of the prompt that it does not hold."""

    inputs = ("matched",)

    def costs(self, asked: Asked, columns: Columns) -> Column:
        """Give the cost of each candidate, from 0 to 1."""
        size = asked.size or 1.0
        return [1.0 - min(matched / size, 1.0) for matched in columns["matched"]]
