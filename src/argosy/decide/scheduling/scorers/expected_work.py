"""The default judgement: what a request makes its endpoint do, and what it makes itself and others wait for."""

from typing import Final

from argosy.decide.scheduling.plugins import Asked, Column, Columns, Plugin

SLOPE: Final = 2.0
STEEPEST: Final = 32.0
BUSIEST: Final = 0.8


class ExpectedWork(Plugin, frozen=True, kw_only=True):
    """Cost in blocks of prompt: the backlog before it, its own uncached part, and the requests beside it.

    - An uncached block counts once for this request; `delay` times busy / (1 - busy) for those who wait longer for it,
      as waits in a queue grow; and up to `eviction` for what leaves the cache for it: all of that
      where the cache turns over fastest, nothing where there is room. So conversations spread over the caches, though
      all of them begin alike.
    - A request under way counts `request` blocks, and more the more there are (each by a half, up to 32): a batch
      slows all that are in it, and however good a cache is, a burst must not pile up behind it.
    - Where the session was before, half of what seems uncached is taken to be cached: part of it was not sent by us.
    - A model that is a loaded adapter elsewhere, and not here, costs `adapter` blocks.
    - All of it times slowness.
    """

    delay: float = 0.5
    eviction: float = 1.0
    request: float = 0.25
    adapter: float = 16.0
    inputs = ("requests", "backlog", "matched", "pressure", "session", "adapter", "slowness")

    def costs(self, asked: Asked, columns: Columns) -> Column:
        """Give the cost of each candidate, in blocks."""
        size, request = asked.size, self.request
        busy = min(asked.busy, BUSIEST)
        delayed = 1.0 + self.delay * busy / (1.0 - busy)
        dearest = max(columns["pressure"]) or 1.0
        eviction = self.eviction / dearest
        absent = self.adapter if any(columns["adapter"]) else 0.0
        return [
            (
                backlog
                + max(size - matched, 0.0) * (delayed + eviction * pressure) / (2.0 if session else 1.0)
                + request * crowd(requests)
                + (0.0 if adapter else absent)
            )
            * slowness
            for requests, backlog, matched, pressure, session, adapter, slowness in zip(
                columns["requests"],
                columns["backlog"],
                columns["matched"],
                columns["pressure"],
                columns["session"],
                columns["adapter"],
                columns["slowness"],
                strict=True,
            )
        ]


def crowd(requests: float) -> float:
    """Give what one more request beside these counts, in requests: convex at first, then straight."""
    if requests <= STEEPEST:
        return 1.0 + requests + requests * requests / (2.0 * SLOPE)
    return 1.0 + requests + (requests - STEEPEST / 2.0) * STEEPEST / SLOPE
