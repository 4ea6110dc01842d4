"""By lot, the less cost the likelier. Source: Dynamo's router, `temperature`."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from argosy.decide.scheduling.plugins import Asked, Column, Columns, Plugin


class Softmax(Plugin, frozen=True, kw_only=True):
    """Draw the pick with weights exp(-cost / temperature), costs taken from 0, the least, to 1, the most.

    The others follow by cost; suspects stand behind all others and are not drawn while there are any.
    """

    temperature: float = 0.1
    inputs = ("suspect", "last_pick")

    def order(self, asked: Asked, costs: Column, columns: Columns) -> Sequence[int]:
        """Give the indices of all candidates, the pick first."""
        keys = list(zip(columns["suspect"], costs, columns["last_pick"], strict=True))
        ranked = sorted(range(len(keys)), key=keys.__getitem__)
        sound = [index for index in ranked if not columns["suspect"][index]] or ranked
        least, most = costs[sound[0]], max(costs[index] for index in sound)
        scale = (most - least) * max(self.temperature, 1e-9) or 1.0
        weights = [math.exp((least - costs[index]) / scale) for index in sound]
        marks = list(accumulate(weights))
        drawn = sound[min(bisect_right(marks, asked.dice * marks[-1]), len(sound) - 1)]
        return [drawn, *(index for index in ranked if index != drawn)]
