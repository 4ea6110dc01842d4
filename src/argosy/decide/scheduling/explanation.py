"""Why a request went where it went: a decision made once more from its record, in figures and in one sentence."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from argosy.decide.routing.endpoints import PoolEndpoint
from argosy.decide.routing.rewrites import Rewritten
from argosy.decide.scheduling.deciders.threshold import Verdict
from argosy.decide.scheduling.eligible import why_removed
from argosy.decide.scheduling.plugins import Failure
from argosy.decide.scheduling.prefill_sentence import prefill_sentence
from argosy.decide.scheduling.profiles import BUILT_IN, Profile
from argosy.decide.scheduling.record import PrefillRecord, Record
from argosy.decide.scheduling.schedule import Decision, schedule

DEFAULT_PICKER: Final = BUILT_IN.spec.picker.type
MAX_NAMED: Final = 8
"""Endpoints that are named for each reason; the rest are counted."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What one scorer says of a candidate, and what that counts."""

    scorer: str
    cost: float
    weight: float


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint that was judged; the least `cost` is best, unless a filter left it out.

    `inputs` are the columns that the plugins were given, `judgements` what scorers made of them: the sum of cost times
    weight is the candidate's cost.
    """

    endpoint: str
    cost: float
    left_out_by: str = ""
    judgements: tuple[Judgement, ...] = ()
    inputs: dict[str, float] = {}


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """Endpoints that could not have served, for one reason; some are named."""

    why: str
    count: int
    endpoints: tuple[str, ...]


class PrefillExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the prompt was computed by a prefill worker, the verdict's numbers, and how that worker was chosen.

    `prompt_tokens` is the prompt's length as its engine reported it, 0 where it did not. `transfer` and `moved_tokens`
    say what became of its state, `alike` how many other legs with the same prompt were under way.
    """

    verdict: Verdict
    outcome: str = ""
    took_s: float | None = None
    prompt_tokens: int = 0
    transfer: str = ""
    moved_tokens: int = 0
    alike: int = 0
    picked: str = ""
    eligible: int = 0
    candidates: tuple[Candidate, ...] = ()


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One decision. `lost_by` is what the runner-up's cost was above the pick's, 0 for a tie.

    `failure` is why the built-in default decided in the place of the profile.
    `prompt_blocks` is the prompt's length, in blocks of 1,024 bytes, of which the pick held `prompt_matched`.
    """

    request: str
    at_s: float
    sentence: str
    outcome: str
    pool: str = ""
    route: str = ""
    model: str = ""
    rewritten: Rewritten | None = None
    profile: str = ""
    prompt_blocks: float = 0.0
    prompt_matched: float = 0.0
    picked: str = ""
    fallbacks: tuple[str, ...] = ()
    runner_up: str = ""
    lost_by: float | None = None
    tied: tuple[str, ...] = ()
    eligible: int = 0
    failure: Failure | None = None
    candidates: tuple[Candidate, ...] = ()
    removed: tuple[Removed, ...] = ()
    prefill: PrefillExplanation | None = None


def explanation(record: Record, endpoints: Sequence[PoolEndpoint], profile: Profile | None) -> Explanation:
    """Explain a record; `endpoints` are all of its pool at that moment, none where they are not known any more.

    `profile` is the record's, None where that is not known any more.
    """
    said = _outline(record, endpoints)
    if not record.candidates or (record.refused and record.picked is None):
        return said
    if record.failure is not None:
        # Whoever raised once need not do so again.
        profile = BUILT_IN
    if profile is None:
        sentence = "It was decided by a profile that is not known any more."
        return msgspec.structs.replace(said, sentence=sentence)
    decision = schedule(profile, record.asked, record.candidates)
    columns, order = record.candidates.columns, decision.order
    names = ("requests", *(name for name in profile.inputs if name != "requests"))
    candidates = tuple(_candidate(decision, index, names) for index in order)
    first, *others = candidates
    comparable = [
        each
        for index, each in zip(order[1:], others, strict=True)
        if columns["suspect"][index] == columns["suspect"][order[0]] and not each.left_out_by
    ]
    # Recorded with every decision, whether or not a plugin of this profile asks for it.
    matched = columns["matched"][order[0]]
    lost_by = others[0].cost - first.cost if others and others[0] in comparable else None
    tied = tuple(each.endpoint for each in comparable if each.cost == first.cost)
    return msgspec.structs.replace(
        said,
        sentence=f"{_failed(record)}{_sentence(record, candidates, matched, tied, lost_by)}{prefill_sentence(record)}",
        prefill=_prefill(record.prefill, profile),
        prompt_matched=matched,
        picked=first.endpoint,
        fallbacks=tuple(map(str, decision.endpoints[1:])),
        runner_up=others[0].endpoint if others else "",
        lost_by=lost_by,
        tied=tied,
        candidates=candidates,
    )


def _outline(record: Record, endpoints: Sequence[PoolEndpoint]) -> Explanation:
    """Say what a record says without its decision being made once more."""
    return Explanation(
        request=record.request,
        at_s=record.at_s,
        sentence=f"It was refused: {record.refused}.{prefill_sentence(record)}",
        outcome=_outcome(record),
        pool=record.pool,
        route=record.route,
        model=record.model,
        rewritten=record.rewritten,
        profile=record.profile.name if record.profile else "",
        prompt_blocks=record.asked.size,
        eligible=record.eligible,
        failure=record.failure,
        removed=tuple(_removed(endpoints, record)),
        prefill=None if record.prefill is None else PrefillExplanation(verdict=record.prefill.verdict),
    )


def _candidate(decision: Decision, index: int, names: Sequence[str]) -> Candidate:
    judged = (Judgement(scorer=each.name, cost=each.costs[index], weight=each.weight) for each in decision.parts)
    columns = decision.candidates.columns
    return Candidate(
        endpoint=str(decision.candidates.endpoints[index]),
        cost=decision.costs[index],
        left_out_by=decision.left_out[index],
        judgements=tuple(judged),
        inputs={name: float(columns[name][index]) for name in names},
    )


def _prefill(leg: PrefillRecord | None, profile: Profile) -> PrefillExplanation | None:
    if leg is None:
        return None
    candidates: tuple[Candidate, ...] = ()
    if leg.candidates:
        decision = schedule(profile, leg.asked, leg.candidates)
        candidates = tuple(_candidate(decision, index, profile.inputs) for index in decision.order)
    return PrefillExplanation(
        verdict=leg.verdict,
        outcome=leg.outcome,
        took_s=leg.took_s,
        prompt_tokens=leg.prompt_tokens,
        transfer=leg.transfer,
        moved_tokens=leg.moved_tokens,
        alike=leg.alike,
        picked="" if leg.picked is None else str(leg.picked),
        eligible=leg.eligible,
        candidates=candidates,
    )


def _removed(endpoints: Iterable[PoolEndpoint], record: Record) -> Iterator[Removed]:
    names: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    for each in endpoints:
        why = why_removed(each, record.subset, record.serving)
        if why is not None:
            counts[why] += 1
            if counts[why] <= MAX_NAMED:
                names.setdefault(why, []).append(str(each.endpoint))
    for why, named in names.items():
        yield Removed(why=why, count=counts[why], endpoints=tuple(named))


def _sentence(
    record: Record, candidates: Sequence[Candidate], matched: float, tied: Sequence[str], lost_by: float | None
) -> str:
    first = candidates[0]
    if record.eligible == 1:
        return f"{first.endpoint} was picked: no other endpoint of pool {record.pool} could serve."
    believed = _believed(record, first, matched)
    picker = DEFAULT_PICKER if record.failure or record.profile is None else record.profile.picker.type
    if tied:
        others = f"{len(tied)} other{'' if len(tied) == 1 else 's'}"
        how = "picked longest ago" if picker == DEFAULT_PICKER else f"chosen by the picker {picker}"
        return f"{first.endpoint} was picked: {believed}; as good as {others}, and {how}."
    second = candidates[1]
    if lost_by is not None and lost_by < 0.0:
        less = f"cost {first.cost:.4g}, though {second.endpoint} costs {second.cost:.4g}"
        return f"{first.endpoint} was picked: {believed}; chosen by the picker {picker} at {less}."
    if lost_by is not None:
        against = f"cost {first.cost:.4g} against {second.cost:.4g} of {second.endpoint}"
        return f"{first.endpoint} was picked: {believed}; {against}."
    if second.left_out_by:
        return f"{first.endpoint} was picked: {believed}; the filter {second.left_out_by} left out all others."
    return f"{first.endpoint} was picked: {believed}; {second.endpoint} had just failed to take a request."


def _failed(record: Record) -> str:
    return "" if record.failure is None else f"{record.failure}; the default decided: "


def _believed(record: Record, first: Candidate, matched: float) -> str:
    under_way = int(first.inputs["requests"])
    said = f"{under_way} request{'' if under_way == 1 else 's'} under way there"
    if not record.asked.size:
        return said
    share = min(matched / record.asked.size, 1.0)
    return f"it holds {share:.0%} of the prompt, {said}"


def _outcome(record: Record) -> str:
    if record.refused:
        return "refused"
    by = f" by {record.served}" if record.served else ""
    if record.took_s is None:
        return f"under way{by}"
    return f"{'answered' if record.answered else 'ended without an answer of 2xx'}{by} after {record.took_s:.3f} s"
