"""From candidates to a decision: the endpoint with the least expected wait, and where to go when it does not answer.

Rules of this file:

- Pure: the same candidates, in whatever order, give the same decision.
- score = (requests under way + 1) * slowness, least first: the wait of one more request, in answers of the fastest
  candidate. Suspect endpoints stand behind all others. Ties go to the endpoint that was picked longest ago, so they
  rotate; then by name.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from argosy.base.endpoint import Endpoint
from argosy.decide.scheduling.loads import Load

MAX_ENDPOINTS: Final = 5
"""The pick and its fallbacks: more attempts than this help no client."""


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate with what it was judged by."""

    load: Load
    score: float


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes: `ranked[0]` is the pick, the rest are fallbacks in order."""

    ranked: tuple[Scored, ...]

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The pick, then its fallbacks."""
        return tuple(scored.load.endpoint for scored in self.ranked)


def schedule(candidates: Iterable[Load]) -> Decision:
    """Rank the candidates; no candidates, no endpoints."""
    scored = [Scored(load=load, score=(load.held + load.foreign + 1) * load.slowness) for load in candidates]
    scored.sort(key=_rank)
    return Decision(ranked=tuple(scored[:MAX_ENDPOINTS]))


def _rank(scored: Scored) -> tuple[bool, float, int, Endpoint]:
    load = scored.load
    return (load.suspect, scored.score, load.last_pick, load.endpoint)
