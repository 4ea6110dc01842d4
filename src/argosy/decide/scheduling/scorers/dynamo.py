"""The cost of NVIDIA Dynamo's KV router. Source: Dynamo 1.4, docs/components/router/router-concepts.md."""

from argosy.decide.scheduling.plugins import Asked, Column, Columns, Plugin


class Dynamo(Plugin, frozen=True, kw_only=True):
    """Cost in blocks: `prefill_load_scale` times what is to compute, and the blocks of all prompts under way."""

    prefill_load_scale: float = 1.0
    overlap_credit: float = 1.0
    inputs = ("backlog", "matched", "under_way")

    def costs(self, asked: Asked, columns: Columns) -> Column:
        """Give the cost of each candidate, in blocks."""
        scale, credit, size = self.prefill_load_scale, self.overlap_credit, asked.size
        return [
            scale * max(backlog + size - credit * matched, 0.0) + under_way + size
            for backlog, matched, under_way in zip(
                columns["backlog"], columns["matched"], columns["under_way"], strict=True
            )
        ]
