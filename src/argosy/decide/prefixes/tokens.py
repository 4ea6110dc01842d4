"""How many tokens a prompt has, estimated by its bytes and corrected by what engines report.

Rules of this file:

- A state machine: what was sent, and what engines count and report of it, in; estimates out. One rate for each model,
  bounded in number, the latest used kept.
- An engine that rests has counted all that ended there. Where that is as many requests as were ours since it rested
  before, their tokens are known. One that never rests is believed when it has counted `MANY` tokens, beside which those
  under way are few. What was given up may be counted or not: the engine has to rest before it is believed again.
- A rate is bytes over tokens of the prompts of late, and the error a mean of theirs. Each counts by its length, for the
  template of a short one is most of it, up to `LONG`, so that none speaks for all.
"""

from collections import OrderedDict
from typing import Final

import msgspec

from argosy.decide.prefixes.prompt import BYTES_PER_TOKEN

MAX_MODELS: Final = 1024
LONG: Final = 512
"""Tokens; longer prompts count as much as those."""
MANY: Final = 8192.0
FEW: Final = 0.1
"""Share of others' requests, or of those under way, that is borne in so many."""
MAX_SERVED: Final = 16
"""Models that one endpoint's counts are told of."""
_FIRST: Final = 64.0
"""What is assumed before the first report counts as a prompt of so many tokens."""
_KEPT: Final = 0.9
"""What earlier prompts count beside each new one."""
LEAST: Final = 0.25
MOST: Final = 64.0
"""Bytes of a token, at least and at most: a prompt of pictures or of blanks must not spoil the estimate for others."""


class _Rate(msgspec.Struct):
    tokens: float = _FIRST
    size: float = _FIRST * BYTES_PER_TOKEN
    checked: float = 0.0
    errors: float = 0.0


_UNKNOWN: Final = _Rate()


class Counts(msgspec.Struct, frozen=True, gc=False):
    """What an engine has counted since its start: requests that ended, and tokens of their prompts."""

    requests: float
    tokens: float


class _Asked(msgspec.Struct):
    """What of ours has ended at an endpoint since it counted `since`.

    It is `doubtful` where some was given up, or had a prompt that was not read.
    """

    since: Counts | None = None
    requests: int = 0
    size: float = 0.0
    models: set[str] = msgspec.field(default_factory=set)
    doubtful: bool = False


class TokenRates:
    """The rates of all models."""

    def __init__(self) -> None:
        self._rates: OrderedDict[str, _Rate] = OrderedDict()
        self._asked: dict[int, _Asked] = {}

    def bytes_per_token(self, model: str) -> float:
        """Give the bytes that a token of this model's prompts takes."""
        rate = self._rates.get(model, _UNKNOWN)
        return rate.size / rate.tokens

    def error(self, model: str) -> float | None:
        """Give how far estimates were off lately, as a share of the true count; None before any was checked."""
        rate = self._rates.get(model, _UNKNOWN)
        return rate.errors / rate.checked if rate.checked else None

    def reported(self, model: str, prompt_bytes: float, tokens: int) -> None:
        """Take in how many tokens a prompt of so many bytes had."""
        if tokens <= 0 or prompt_bytes <= 0.0:
            return
        rate = self._rates.get(model)
        if rate is None:
            rate = self._rates[model] = _Rate()
            if len(self._rates) > MAX_MODELS:
                self._rates.popitem(last=False)
        self._rates.move_to_end(model)
        weight = float(min(tokens, LONG))
        error = abs(prompt_bytes * rate.tokens / rate.size - tokens) / tokens
        seen = min(max(prompt_bytes / tokens, LEAST), MOST)
        rate.checked = _KEPT * rate.checked + weight
        rate.errors = _KEPT * rate.errors + weight * error
        rate.tokens = _KEPT * rate.tokens + weight
        rate.size = _KEPT * rate.size + weight * seen

    def ended(self, number: int, model: str, prompt_bytes: float, *, answered: bool) -> None:
        """Take in that a request with such a prompt has ended at an endpoint."""
        asked = self._asked.get(number)
        if asked is None:
            asked = self._asked[number] = _Asked()
        asked.requests += 1
        asked.size += prompt_bytes
        asked.doubtful = asked.doubtful or not answered or not prompt_bytes
        if len(asked.models) < MAX_SERVED:
            asked.models.add(model)

    def counted(self, number: int, counts: Counts, *, rests: bool) -> None:
        """Take in what an endpoint has counted, and whether nothing is under way there."""
        asked = self._asked.get(number)
        if asked is None:
            asked = self._asked[number] = _Asked()
        if asked.since is not None and counts.tokens >= asked.since.tokens and not asked.doubtful:
            tokens = counts.tokens - asked.since.tokens
            if not rests and tokens < MANY:
                return
            others = abs(counts.requests - asked.since.requests - asked.requests)
            if others <= (0.0 if rests else FEW * asked.requests):
                for model in asked.models:
                    self.reported(model, asked.size, int(tokens))
        self._asked[number] = _Asked(since=counts, doubtful=asked.doubtful and not rests)

    def forget(self, number: int) -> None:
        """Forget an endpoint that is gone."""
        self._asked.pop(number, None)
