"""What is said of a request's prompt in a pool with prefill workers: who computed it, and by which numbers."""

from collections.abc import Mapping
from typing import Final

from argosy.decide.scheduling.deciders.threshold import Outcome, Verdict
from argosy.decide.scheduling.record import PrefillRecord, Record
from argosy.engines.moved import NotMoved

_WHY_NOT: Final[Mapping[Outcome, str]] = {
    "below_threshold": "fewer tokens than the threshold are to be computed",
    "no_prompt": "the request has no prompt that is known to be one",
    "needs_own": "the request asks for its prompt to be computed where it is answered",
    "no_prefill_worker": "no prefill worker is ready",
    "no_pair": "no prefill worker that is ready has the KV layout of the decode worker",
    "set_aside": "every prefill worker that could have has just failed, and gets no legs for some seconds",
    "too_many": "too many legs are under way",
}
_FAILED: Final = {
    "refused": "it took no connection",
    "timeout": "it had not answered",
    "broken": "it broke off",
    "too_large": "its answer was too large",
    "no_params": "it kept no state to go on from",
    "unavailable": "it took no more requests",
    "rejected": "it found fault with the request",
    "error": "it failed",
    "lost": "it was no longer ready",
}
_NOT_MOVED: Final[Mapping[NotMoved, str]] = {
    "gone": "it was not kept any more",
    "unreachable": "the prefill worker could not be reached",
    "cut_off": "the connection broke",
    "late": "it took too long",
    "damaged": "it was damaged",
    "differs": "it was of another model, engine or adapter",
    "refused": "the decode worker does not ask there for states",
    "no_room": "the decode worker had no room for it",
    "not_restored": "the decode worker's engine did not take it",
}


def prefill_sentence(record: Record) -> str:
    """Give the sentence, with a space before it; nothing for a pool without prefill workers."""
    leg = record.prefill
    if leg is None:
        return ""
    where = "there" if leg.picked is None else f"at {record.picked}"
    numbers = _numbers(leg.verdict, "at the decode worker" if record.picked is None else where)
    if record.refused:
        why = _why_not(leg.verdict) if leg.picked is None else f"{leg.picked} {_failed(leg)}"
        return f" {why[0].upper()}{why[1:]}, and onPrefillFailure is fail: {numbers}."
    if leg.picked is None:
        return f" {record.picked} computes the prompt itself, as {_why_not(leg.verdict)}: {numbers}."
    return f" {leg.picked} {_became(leg)}: {numbers}.{_alike(leg.alike)}"


def _why_not(verdict: Verdict) -> str:
    return _WHY_NOT.get(verdict.outcome, verdict.outcome)


def _became(leg: PrefillRecord) -> str:
    match leg.outcome:
        case "":
            return "is computing the prompt"
        case "cancelled":
            return f"was computing the prompt, but the client left{_after(leg)}"
        case "done":
            tokens = f", {leg.prompt_tokens} tokens," if leg.prompt_tokens else ""
            return f"computed the prompt{tokens} in {leg.took_s or 0.0:.3f} s; {_moved(leg)}"
        case _:
            return f"{_failed(leg)}, so the prompt was left to the decode worker"


def _failed(leg: PrefillRecord) -> str:
    return f"was to compute the prompt, but {_FAILED.get(leg.outcome, leg.outcome)}{_after(leg)}"


def _after(leg: PrefillRecord) -> str:
    return "" if leg.took_s is None else f" after {leg.took_s:.3f} s"


def _moved(leg: PrefillRecord) -> str:
    match leg.transfer:
        case "":
            return "the decode worker has not answered yet"
        case "unanswered":
            return "the decode worker gave no answer, so whether the state arrived is not known"
        case "untold":
            return "whether the state arrived, the engine of the decode worker does not tell"
        case "moved":
            if not leg.prompt_tokens:
                return f"{leg.moved_tokens} tokens moved"
            rest = leg.prompt_tokens - leg.moved_tokens
            return f"{leg.moved_tokens} of {leg.prompt_tokens} moved, and the decode worker computed {rest}"
        case why:
            return f"the state did not arrive, as {_NOT_MOVED[why]}, and the decode worker computed the prompt"


def _numbers(verdict: Verdict, where: str) -> str:
    threshold = f"threshold {verdict.threshold_tokens}"
    if not verdict.prompt_tokens:
        return threshold
    off = "" if verdict.error is None else f" (estimates off by {verdict.error:.0%} lately)"
    cached = max(verdict.prompt_tokens - verdict.uncached_tokens, 0.0)
    counted = f"about {verdict.prompt_tokens:.0f} prompt tokens{off}, of which {cached:.0f} are cached {where}"
    return f"{counted}, so {verdict.uncached_tokens:.0f} to compute, {threshold}"


def _alike(legs: int) -> str:
    if not legs:
        return ""
    others = "another leg" if legs == 1 else f"{legs} other legs"
    return f" The same prompt was being computed in {others} then: each request has a leg of its own."
