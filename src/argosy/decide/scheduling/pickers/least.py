"""The least cost first."""

from collections.abc import Sequence

from argosy.decide.scheduling.plugins import Asked, Column, Columns, Plugin


class Least(Plugin, frozen=True, kw_only=True):
    """Suspects stand behind all others. Ties go to the endpoint that was picked longest ago, so they rotate."""

    inputs = ("suspect", "last_pick")

    def order(self, _asked: Asked, costs: Column, columns: Columns) -> Sequence[int]:
        """Give the indices of all candidates, the pick first."""
        keys = list(zip(columns["suspect"], costs, columns["last_pick"], strict=True))
        return sorted(range(len(keys)), key=keys.__getitem__)
