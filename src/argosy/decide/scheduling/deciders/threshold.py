"""A threshold on the prompt's tokens that are not cached at the decode worker.

Source: llm-d, `prefix-based-pd-decider` (`nonCachedTokens`).
"""

from typing import Literal, TypeAlias

import msgspec

Outcome: TypeAlias = Literal[
    "prefill", "below_threshold", "no_prompt", "needs_own", "no_prefill_worker", "no_pair", "set_aside", "too_many"
]


class Verdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Whether a prompt is prefilled elsewhere, and by which numbers; all tokens are estimates.

    `outcome` is `prefill`, or why not: `uncached_tokens` are below the threshold; nothing was read of the prompt; the
    request asks for its prompt to be computed where it is answered; no prefill worker is ready; none has the decode
    worker's KV layout; all of those have just failed; too many legs are under way. `error` is how far estimates have
    been off lately, as a share, None before any was checked.
    """

    outcome: Outcome
    threshold_tokens: int
    prompt_tokens: float = 0.0
    uncached_tokens: float = 0.0
    error: float | None = None

    @property
    def disaggregates(self) -> bool:
        """Whether a prefill worker is to compute the prompt."""
        return self.outcome == "prefill"


def verdict(threshold_tokens: int, prompt_tokens: float, cached_tokens: float, error: float | None = None) -> Verdict:
    """Judge a prompt of so many tokens, of which so many are cached at the decode worker that was chosen."""
    uncached = max(prompt_tokens - cached_tokens, 0.0)
    outcome: Outcome = "prefill"
    if not prompt_tokens:
        outcome = "no_prompt"
    elif uncached < threshold_tokens:
        outcome = "below_threshold"
    return Verdict(
        outcome=outcome,
        threshold_tokens=threshold_tokens,
        prompt_tokens=prompt_tokens,
        uncached_tokens=uncached,
        error=error,
    )
