"""How many tokens a prompt has, estimated by its bytes and corrected by what engines report.

Rules of this file:

- A state machine: reported usage in, estimates out. One rate for each model, bounded in number, the latest used kept.
- A rate is a moving average over prompts, each weighted alike, of bytes per token; of the error too.
"""

from collections import OrderedDict
from typing import Final

import msgspec

from argosy.decide.prefixes.prompt import BYTES_PER_TOKEN

MAX_MODELS: Final = 1024
_SMOOTHING: Final = 0.1
LEAST: Final = 0.25
MOST: Final = 64.0
"""Bytes of a token, at least and at most: a prompt of pictures or of blanks must not spoil the estimate for others."""


class _Rate(msgspec.Struct):
    bytes_per_token: float = BYTES_PER_TOKEN
    error: float | None = None


_UNKNOWN: Final = _Rate()


class TokenRates:
    """The rates of all models."""

    def __init__(self) -> None:
        self._rates: OrderedDict[str, _Rate] = OrderedDict()

    def bytes_per_token(self, model: str) -> float:
        """Give the bytes that a token of this model's prompts takes."""
        return self._rates.get(model, _UNKNOWN).bytes_per_token

    def error(self, model: str) -> float | None:
        """Give how far estimates were off lately, as a share of the true count; None before any was checked."""
        return self._rates.get(model, _UNKNOWN).error

    def reported(self, model: str, prompt_bytes: float, tokens: int) -> None:
        """Take in how many tokens a prompt of so many bytes had."""
        if tokens <= 0 or prompt_bytes <= 0.0:
            return
        rate = self._rates.get(model)
        first = rate is None
        if rate is None:
            rate = self._rates[model] = _Rate()
            if len(self._rates) > MAX_MODELS:
                self._rates.popitem(last=False)
        self._rates.move_to_end(model)
        error = abs(prompt_bytes / rate.bytes_per_token - tokens) / tokens
        rate.error = error if rate.error is None else rate.error + _SMOOTHING * (error - rate.error)
        seen = min(max(prompt_bytes / tokens, LEAST), MOST)
        rate.bytes_per_token += (1.0 if first else _SMOOTHING) * (seen - rate.bytes_per_token)
