"""Judgements by one figure: the requests under way, or the prompts yet to compute."""

from argosy.decide.scheduling.plugins import Asked, Column, Columns, Plugin


class Requests(Plugin, frozen=True, kw_only=True):
    """Cost: requests under way."""

    inputs = ("requests",)

    def costs(self, _asked: Asked, columns: Columns) -> Column:
        """Give the cost of each candidate."""
        return columns["requests"]


class Backlog(Plugin, frozen=True, kw_only=True):
    """Cost: blocks of prompts yet to compute."""

    inputs = ("backlog",)

    def costs(self, _asked: Asked, columns: Columns) -> Column:
        """Give the cost of each candidate, in blocks."""
        return columns["backlog"]


class Prefill(Plugin, frozen=True, kw_only=True):
    """Cost: blocks yet to compute, those of this prompt included: the least time to the first token, done greedily."""

    inputs = ("backlog", "matched")

    def costs(self, asked: Asked, columns: Columns) -> Column:
        """Give the cost of each candidate, in blocks."""
        return [
            backlog + asked.size - matched
            for backlog, matched in zip(columns["backlog"], columns["matched"], strict=True)
        ]
