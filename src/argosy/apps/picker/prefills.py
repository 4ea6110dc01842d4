"""The second pick: whether a prefill worker computes a request's prompt, and which; and what came of it.

Rules of this file:

- The decode worker is chosen first. A prefill worker must have its KV layout, and is chosen by the same profile.
- Bounded: so many legs, and so many bytes of their requests. What is beyond is served by the decode worker alone.
- A reservation at a prefill worker is given back once, when its leg ends, in whatever way.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from argosy.api.disaggregation import Disaggregation
from argosy.apps.picker.leg_metrics import LegMetrics
from argosy.apps.picker.pick import Pick, Prefill, RequestHead
from argosy.apps.picker.world import PoolView, World
from argosy.base.endpoint import Endpoint
from argosy.decide.prefixes.prompt import BLOCK_BYTES, Prompt
from argosy.decide.routing.endpoints import PoolEndpoint
from argosy.decide.scheduling.beliefs import Beliefs, Duty, Wanted
from argosy.decide.scheduling.deciders.threshold import Outcome, verdict
from argosy.decide.scheduling.eligible import eligible, prefilling_for
from argosy.decide.scheduling.plugins import Asked
from argosy.decide.scheduling.profiles import Profile
from argosy.decide.scheduling.record import PrefillRecord, Record
from argosy.decide.scheduling.schedule import schedule
from argosy.engines.moved import transfer_of

MAX_LEGS: Final = 1024
MAX_BYTES: Final = 128 * 1024 * 1024
SET_ASIDE_S: Final = 10.0
"""How long a prefill worker that failed gets no legs; readiness knows more by then."""
_PATHS: Final = ("/chat/completions", "/completions")
_OWN: Final = {"prompt_logprobs": (b"null",), "echo": (b"false", b"null"), "cache_prompt": (b"true", b"null")}
"""Fields that ask for the prompt to be computed where it is answered, and the values that do not."""
_UNSERVED: Final = frozenset[Outcome](("no_prefill_worker", "no_pair", "set_aside", "too_many"))


_Whole = tuple[tuple[int, ...], tuple[tuple[int, float], ...]]
"""What tells a prompt from all others: hashes are chained, so the last ones say all."""


class Prefills:
    """Decides legs of one picker, and counts them."""

    def __init__(
        self, beliefs: Beliefs, metrics: LegMetrics, *, rng: random.Random, clock: Callable[[], float]
    ) -> None:
        self._beliefs = beliefs
        self._metrics = metrics
        self._rng = rng
        self._clock = clock
        self._legs = 0
        self._bytes = 0
        self._prompts: Counter[_Whole] = Counter()
        self._workers: dict[tuple[int, str, str], int] = {}
        metrics.count_under_way_with(lambda: self._legs)

    def forget_workers(self) -> None:
        """Look for workers anew: the cluster has changed."""
        self._workers.clear()

    def prefill(
        self, view: PoolView, record: Record, wanted: Wanted, profile: Profile, head: RequestHead, body: bytes | None
    ) -> Prefill | None:
        """Judge a request whose decode worker is the record's pick, and reserve a prefill worker where it is worth it.

        The verdict, and what it was reached by, is put into the record.
        """
        policy = view.disaggregation
        if policy is None or record.picked is None:
            return None
        path = head.headers.get(":path", "").partition("?")[0]
        size = wanted.prompt.size * BLOCK_BYTES if body is not None and path.endswith(_PATHS) else 0.0
        cached = record.matched * BLOCK_BYTES
        rates = self._beliefs.rates
        rate = rates.bytes_per_token(wanted.model)
        found = verdict(policy.threshold_tokens, size / rate, cached / rate, rates.error(wanted.model))
        record.prefill = PrefillRecord(verdict=found)
        chosen: Prefill | Outcome = found.outcome
        if found.disaggregates and body is not None:
            chosen = self._chosen(view, policy, record, wanted, profile, body)
        if isinstance(chosen, Prefill):
            self._metrics.judged(record.pool, record.model, found)
            return chosen
        record.prefill.verdict = msgspec.structs.replace(found, outcome=chosen)
        self._metrics.judged(record.pool, record.model, record.prefill.verdict)
        return None

    def ended(self, pick: Pick, prefill: Prefill, outcome: str, *, prompt_tokens: int = 0, set_aside: bool) -> None:
        """Give a leg's reservation back, and learn from what came of it: `done`, or why it failed."""
        now_s = self._clock()
        record = prefill.record
        took_s = now_s - prefill.at_s
        self._legs -= 1
        self._bytes -= prefill.held_bytes
        self._prompts[whole := _whole(prefill.prompt)] -= 1
        if not self._prompts[whole]:
            del self._prompts[whole]
        self._beliefs.release(prefill.reservation, now_s, answered=outcome == "done")
        if outcome == "done":
            self._beliefs.hold(pick.endpoints[0], prefill.prompt, now_s)
        if set_aside:
            self._beliefs.loads.set_aside(prefill.endpoint, now_s + SET_ASIDE_S)
        record.outcome, record.took_s, record.prompt_tokens = outcome, took_s, prompt_tokens
        if prompt_tokens > 0:
            self._metrics.estimated(record.verdict.prompt_tokens, prompt_tokens)
            self._beliefs.rates.reported(prefill.model, prefill.prompt_bytes, prompt_tokens)
        self._metrics.ended(pick.record.pool, outcome, took_s)

    def arrived(self, pick: Pick, moved: str) -> None:
        """Take note of what an answer says of the state that its engine was to fetch."""
        if pick.prefill is not None and pick.prefill.record.outcome == "done":
            record = pick.prefill.record
            record.transfer, record.moved_tokens = transfer_of(moved, record.prompt_tokens)
            self._metrics.transferred(pick.record.pool, record.transfer)

    def settled(self, pick: Pick) -> None:
        """Take note that nothing more will be known of the state that was to be fetched."""
        record = None if pick.prefill is None else pick.prefill.record
        if record is not None and record.outcome == "done" and not record.transfer:
            record.transfer = "unanswered"
            self._metrics.transferred(pick.record.pool, record.transfer)

    def compute_at_decode(self, pick: Pick, prefill: Prefill) -> None:
        """Count the prompt at the decode worker, which has to compute it now."""
        now_s = self._clock()
        self._beliefs.loads.compute_here(pick.reservation, prefill.uncached, now_s)
        self._beliefs.hold(pick.endpoints[0], prefill.prompt, now_s)

    def is_refused(self, view: PoolView, record: Record) -> bool:
        """Whether a request is refused that a prefill worker should have served, and none does."""
        is_strict = view.disaggregation is not None and view.disaggregation.on_prefill_failure == "fail"
        return is_strict and record.prefill is not None and record.prefill.verdict.outcome in _UNSERVED

    def reachable(self, world: World) -> frozenset[Endpoint]:
        """Give the workers from which an answer may still come: those that serve, and those that finish and leave."""
        every = (each for view in world.pools.values() for each in view.endpoints)
        return frozenset(each.endpoint for each in every if each.ready or each.leaving)

    def _chosen(
        self, view: PoolView, policy: Disaggregation, record: Record, wanted: Wanted, profile: Profile, body: bytes
    ) -> Prefill | Outcome:
        leg = record.prefill
        decode = next((each for each in view.endpoints if each.endpoint == record.picked), None)
        if leg is None or decode is None:
            return "no_pair"
        if self._legs >= MAX_LEGS or self._bytes + 2 * len(body) > MAX_BYTES:
            return "too_many"
        among = self._among(view, record, decode)
        if not among:
            has_any = any(each.ready and each.prefills and each.endpoint != decode.endpoint for each in view.endpoints)
            return "no_pair" if has_any or not decode.decodes else "no_prefill_worker"
        fields = _fields(body, record)
        if any(name in fields and bytes(fields[name]) not in usual for name, usual in _OWN.items()):
            return "needs_own"
        now_s = self._clock()
        leg.eligible = among.bit_count()
        leg.candidates = self._beliefs.candidates(among, wanted, profile.columns, now_s)
        leg.asked = Asked(wanted.prompt.size, self._rng.random(), record.asked.busy)
        decision = schedule(profile, leg.asked, leg.candidates)
        best = decision.order[0]
        if leg.candidates.columns["suspect"][best]:
            return "set_aside"
        picked: Endpoint = decision.endpoints[0]
        leg.picked = picked
        self._metrics.picked(record.pool, picked)
        matched = leg.candidates.columns["matched"][best]
        self._legs += 1
        self._bytes += 2 * len(body)
        whole = _whole(wanted.prompt)
        leg.alike = self._prompts[whole]
        self._prompts[whole] += 1
        return Prefill(
            endpoint=picked,
            reservation=self._beliefs.reserve(picked, wanted, now_s, matched=matched, duty=Duty.PREFILL),
            policy=policy,
            fields=fields,
            uncached=max(wanted.prompt.size - record.matched, 0.0),
            record=leg,
            at_s=now_s,
            model=wanted.model,
            prompt=wanted.prompt,
            prompt_bytes=wanted.prompt.size * BLOCK_BYTES,
            held_bytes=2 * len(body),
            room=self._rng.getrandbits(63),
        )

    def _among(self, view: PoolView, record: Record, decode: PoolEndpoint) -> int:
        """Give the prefill workers that may compute a prompt for this decode worker."""
        if not decode.decodes:
            return 0
        key = (id(view), decode.kv_layout, record.serving or "")
        found = self._workers.get(key)
        if found is None:
            workers = prefilling_for(view.endpoints, decode.kv_layout)
            found = self._workers[key] = eligible(workers, record.serving, self._beliefs.set_of).everyone
        return found & ~self._beliefs.set_of((decode.endpoint,))


def _whole(prompt: Prompt) -> _Whole:
    return prompt.blocks[-1:], prompt.ends[:1]


_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _fields(body: bytes, record: Record) -> Mapping[str, msgspec.Raw]:
    """Give the fields of a body, the model being the one that serves. It is one that `openai.BodyReader` has read."""
    fields = _FIELDS.decode(body)
    if record.rewritten is not None:
        fields["model"] = msgspec.Raw(msgspec.json.encode(record.rewritten.served))
    return fields
