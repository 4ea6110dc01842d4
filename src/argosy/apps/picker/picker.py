"""The picker: from a request to an endpoint that is reserved for it, and back again when its stream ends.

Decisions are made by `decide`; here they get the world, the clock and the dice, and are counted.
"""

import functools
import logging
import random
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from argosy.api.names import (
    DESTINATION,
    EXPLAIN_HEADER,
    INPUT_HEADER_NAMES,
    LEG_HEADER,
    MAX_BODY_BYTES,
    MODEL_HEADER,
    POOL_HEADER,
    PREFILLER_HEADER,
    REQUEST_ID_HEADER,
    REWRITE_HEADER,
    STEERING_HEADERS,
)
from argosy.api.objects import Key
from argosy.api.openai import EMPTY_BODY, MODELS_PATH, BadBody, BodyReader, ModelRequest
from argosy.api.scheduling import ProfileSpec
from argosy.apps.picker import answers
from argosy.apps.picker.answers import Refusal
from argosy.apps.picker.legs import Done, Leg, Legs, PrefillWorkers
from argosy.apps.picker.metrics import PickerMetrics
from argosy.apps.picker.pick import Pick, Prefill, RequestHead
from argosy.apps.picker.plugin_failures import PluginFailures
from argosy.apps.picker.prefills import Prefills
from argosy.apps.picker.world import EMPTY, World
from argosy.decide.prefixes.prompt import BLOCK_BYTES, prompt_of
from argosy.decide.routing.endpoints import PoolEndpoint
from argosy.decide.routing.inputs import RequestInputs, request_inputs
from argosy.decide.routing.match import Request, weighted_pool
from argosy.decide.routing.rewrites import Rewritten
from argosy.decide.routing.table import RouteEntry
from argosy.decide.scheduling.beliefs import NOTHING, Beliefs, Duty, Wanted
from argosy.decide.scheduling.eligible import Eligible, answering, eligible, subset_of
from argosy.decide.scheduling.explanation import explanation
from argosy.decide.scheduling.loads import Load
from argosy.decide.scheduling.plugins import Asked
from argosy.decide.scheduling.profiles import Profile
from argosy.decide.scheduling.record import MAX_ID, Record, Records
from argosy.decide.scheduling.schedule import Decision, schedule
from argosy.edge.rpc.ext_proc import Answer

MAX_EXPLANATION: Final = 1024
"""Characters of an explanation in a header."""
MAX_DIGITS: Final = 18
"""Of an announced length; what has more is too large by its first ones already."""
MAX_PROFILES: Final = 8
"""Profiles that are remembered, so that what was decided by them can be explained."""
_log: Final = logging.getLogger(__name__)
_REMOVED: Final = frozenset((*STEERING_HEADERS, *INPUT_HEADER_NAMES))
"""What no engine is to see of a client's headers."""
_name: Final = functools.lru_cache(maxsize=16_384)(str)
"""The name of an endpoint."""
_REMOVED_OF_REWRITTEN: Final = _REMOVED | {"accept-encoding"}
"""No model can be put into an answer that is compressed."""
_METHODS_WITH_BODY: Final = frozenset(("POST", "PUT", "PATCH"))


class Picker:
    """Decides all requests of one process (the `Decider` of its sessions)."""

    def __init__(
        self,
        metrics: PickerMetrics,
        profile: Profile,
        *,
        rng: random.Random,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.beliefs = Beliefs()
        self.records = Records()
        self._profiles = [profile]
        self._eligible: dict[tuple[Key, str | None], Eligible] = {}
        self._metrics = metrics
        self._rng = rng
        self._clock = clock
        self._now = now
        self._reader = BodyReader()
        self._failures = PluginFailures(metrics)
        self.prefills = Prefills(self.beliefs, metrics.legs, rng=rng, clock=clock)
        self._legs: Legs | None = None
        self._world = EMPTY
        metrics.show_loads_with(self.believed)
        metrics.count_prefix_blocks_with(lambda: self.beliefs.blocks)

    @property
    def world(self) -> World:
        """What is known of the cluster."""
        return self._world

    def run_legs(self, workers: PrefillWorkers) -> None:
        """Have prefill workers asked from now on; before, every decode worker computes its prompts itself."""
        self._legs = Legs(self.prefills, workers)

    def prefill(self, pick: Pick, head: RequestHead, done: Done) -> Leg | None:
        """Begin the pick's prefill leg, if it has one."""
        if pick.prefill is None or self._legs is None:
            return None
        return self._legs.start(pick, pick.prefill, head, done)

    def use(self, profile: Profile) -> None:
        """Decide by this profile from now on."""
        self._profiles = [profile, *(each for each in self._profiles if each.spec != profile.spec)][:MAX_PROFILES]

    def profile_of(self, spec: ProfileSpec | None) -> Profile | None:
        """Give the profile that a record was made by, unless it is forgotten."""
        return next((each for each in self._profiles if each.spec == spec), None)

    def learn(self, world: World) -> None:
        """Decide by this state of the cluster from now on."""
        for view in world.pools.values():
            if view.problem and view.problem not in {each.problem for each in self._world.pools.values()}:
                _log.warning("%s", view.problem)
        self._world = world
        self._eligible.clear()
        if self._legs is not None:
            self._legs.lose_all_but(self.prefills.reachable(world))
        self.prefills.forget_workers()
        endpoints = world.endpoints
        self.beliefs.keep_only(endpoints)
        self._metrics.know(world.pools, endpoints, world.models, world.rewrites.decisions)

    def early_answer(self, head: RequestHead) -> Answer | None:
        """Refuse a body that announces itself as too large, or compressed where its model is looked for."""
        encoding = head.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity" and self._by_head(head) is None:
            return self._refused(answers.encoded(encoding), head)
        # Python reads no numbers of thousands of digits.
        length = head.headers.get("content-length", "")[:MAX_DIGITS]
        if length.isdecimal() and int(length) > MAX_BODY_BYTES:
            return self._refused(answers.too_large(int(length)), head)
        return None

    def refuse(self, head: RequestHead, refusal: Refusal) -> Answer:
        """Refuse a request whose body does not come whole."""
        return self._refused(refusal, head)

    def decide(self, head: RequestHead, body: bytes | None) -> Pick | Answer:
        """Pick an endpoint and reserve it, or answer."""
        began_s = self._clock()
        request, matcher = _request(head), self._world.matcher_of(head.listener)
        said: ModelRequest | None = None
        if body is not None:
            if len(body) > MAX_BODY_BYTES:
                return self._refused(answers.too_large(len(body)), head)
            read = self._reader.read(body)
            if not isinstance(read, BadBody):
                said, request = read, _request(head, read.model)
            elif self._by_head(head) is None:
                return self._refused(answers.bad_body(read), head)
        entry = matcher.entry(request)
        if entry is None:
            if request.method == "GET" and request.path.partition("?")[0] == MODELS_PATH:
                return answers.models(matcher.models)
            return self._refused(_no_entry(request, matcher.models), head)
        return self._pick(entry, head, said, body, began_s)

    def believed(self) -> dict[Key, tuple[Load, ...]]:
        """Give what is believed of each pool's ready endpoints."""
        now_s = self._clock()
        return {
            key: self.beliefs.loads.believed([each.endpoint for each in view.endpoints if each.ready], now_s)
            for key, view in self._world.pools.items()
        }

    def _by_head(self, head: RequestHead) -> RouteEntry | None:
        """Give the entry for a request whatever its body says: where a route asks for no model, any body will do."""
        return self._world.matcher_of(head.listener).entry(_request(head))

    def served(self, pick: Pick, by: str) -> None:
        """Take note of where the request is served, and count it there if that is not where it was sent."""
        pick.record.served = by
        names = pick.destination.split(",")
        if by == names[0]:
            return
        if by in names:
            self._metrics.fell_back(pick.pool)
            self.beliefs.move(pick.reservation, pick.endpoints[names.index(by)], self._clock())
        else:
            self._metrics.served_elsewhere(pick.pool)
            elsewhere = self._world.named.get(by)
            if elsewhere is not None:
                self.beliefs.move(pick.reservation, elsewhere, self._clock())

    def arrived(self, pick: Pick, moved: str) -> None:
        """Take note of what the answer says of the KV cache that its engine was to fetch."""
        self.prefills.arrived(pick, moved)

    def given_up(self, pick: Pick, refusal: Refusal) -> Answer:
        """Refuse a pick that needs its leg, which failed. Its record is there, and gives its stream's id."""
        self._metrics.refused(refusal.reason)
        pick.record.refused = refusal.reason
        request = ((REQUEST_ID_HEADER, pick.record.request),) if pick.is_foreign else ()
        return msgspec.structs.replace(refusal.answer, headers=(*refusal.answer.headers, *request))

    def told(self, pick: Pick) -> tuple[tuple[str, str], ...]:
        """Give the request's id where the proxy does not, and the short form of the decision to whoever may have it."""
        request = ((REQUEST_ID_HEADER, pick.record.request),) if pick.is_foreign else ()
        if not pick.inputs.explain:
            return request
        said = explanation(pick.record, (), self.profile_of(pick.record.profile))
        served = f" Served by {pick.record.served}." if pick.record.served not in ("", said.picked) else ""
        return (*request, (EXPLAIN_HEADER, f"{said.sentence}{served} Profile {said.profile}."[:MAX_EXPLANATION]))

    def ended(self, pick: Pick, *, answered: bool) -> None:
        """Give the reservation back."""
        now_s = self._clock()
        self.beliefs.release(pick.reservation, now_s, answered=answered)
        self.prefills.settled(pick)
        self._metrics.released(pick.pool, pick.record.model, now_s - pick.at_s)
        pick.record.answered, pick.record.took_s = answered, now_s - pick.at_s

    def _pick(
        self, entry: RouteEntry, head: RequestHead, said: ModelRequest | None, body: bytes | None, began_s: float
    ) -> Pick | Answer:
        pool = weighted_pool(entry, self._rng.random())
        record = self._record(head, route=str(entry.route), model=entry.match.model or "")
        if pool is None:
            return self._refused(answers.no_backends(entry.route), head, record)
        view = self._world.pools.get(pool)
        endpoints = () if view is None else view.endpoints
        record.pool = str(pool)
        record.subset = None if head.subset is None else subset_of(head.subset)
        if said is not None and said.reserved and view is not None and view.moves_caches:
            return self._refused(answers.reserved_field(said.reserved), head, record, endpoints)
        rewritten = self._rewritten(pool, said, record)
        among = self._eligible_of(pool, endpoints, record.serving).within(record.subset)
        if not among or view is None:
            refusal = answers.no_endpoints(pool, view, record.serving, in_subset=record.subset is not None)
            return self._refused(refusal, head, record, endpoints)
        profile = self._profiles[0]
        inputs = request_inputs(head.headers, self._world.inputs_believed(head.listener, pool))
        # A session is one of its pool's, so that nobody moves those of others.
        session = f"{pool} {inputs.session}" if inputs.session else ""
        of_prompt = profile.of_prompts or view.disaggregation is not None
        wanted = _wanted(said, record.rewritten, session, of_prompt=of_prompt)
        record.profile, record.eligible = profile.spec, among.bit_count()
        record.candidates = self.beliefs.candidates(among, wanted, profile.columns, began_s)
        record.asked = Asked(wanted.prompt.size, self._rng.random(), self.beliefs.busy)
        decision = schedule(profile, record.asked, record.candidates)
        if decision.failure is not None:
            record.failure = decision.failure
            self._failures.add(decision.failure, began_s)
        record.picked = decision.endpoints[0]
        prefill = None
        if view.disaggregation is not None and self._legs is not None:
            prefill = self.prefills.prefill(view, record, wanted, profile, head, body)
            if prefill is None and self.prefills.is_refused(view, record):
                record.picked = None
                return self._refused(answers.prefill_failed(), head, record, endpoints)
        self.records.add(record, endpoints)
        request = _Request(head, inputs, wanted, rewritten, prefill)
        return self._reserved(pool, decision, request, began_s, record)

    def _rewritten(self, pool: Key, said: ModelRequest | None, record: Record) -> Rewritten | None:
        """Decide which model serves a request, and record it; None where it is the one asked for."""
        rewriting = None if said is None else self._world.rewrites.of(pool, said.model)
        if said is None or rewriting is None:
            return None
        served = rewriting.target(self._rng.random())
        found = Rewritten(asked=said.model, served=served, by=str(rewriting.by), rule=rewriting.rule)
        record.rewritten = msgspec.structs.replace(found, asked=said.model[:MAX_ID])
        self._metrics.rewritten(rewriting.by, rewriting.model, served)
        return None if served == said.model else found

    def _eligible_of(self, pool: Key, endpoints: Sequence[PoolEndpoint], model: str | None) -> Eligible:
        found = self._eligible.get((pool, model))
        if found is None:
            found = self._eligible[pool, model] = eligible(answering(endpoints), model, self.beliefs.set_of)
        return found

    def _reserved(
        self,
        pool: Key,
        decision: Decision,
        request: "_Request",
        began_s: float,
        record: Record,
    ) -> Pick:
        head, wanted, rewritten, prefill = request.head, request.wanted, request.rewritten, request.prefill
        endpoints = decision.endpoints
        destination = ",".join(map(_name, endpoints))
        now_s = self._clock()
        self._metrics.picked(pool, endpoints[0], record.model, now_s - began_s)
        matched = 0.0
        if wanted.prompt.size:
            matched = record.matched
            self._metrics.matched(wanted.prompt.size * BLOCK_BYTES, matched * BLOCK_BYTES)
        steering = [(DESTINATION, destination), (POOL_HEADER, record.pool)]
        # Only a model of the table: it is one of ours, while a client's could hold anything.
        if record.model:
            steering.append((MODEL_HEADER, record.model))
        if not head.headers.get(REQUEST_ID_HEADER):
            steering.append((REQUEST_ID_HEADER, record.request))
        if prefill is not None:
            is_sidecars = prefill.policy.protocol == "sidecar"
            steering.append((PREFILLER_HEADER, str(prefill.endpoint)) if is_sidecars else (LEG_HEADER, "decode"))
        removed = _REMOVED
        if rewritten is not None:
            steering.append((REWRITE_HEADER, rewritten.served))
            removed = _REMOVED_OF_REWRITTEN
        written = {name for name, _ in steering}
        return Pick(
            pool=pool,
            at_s=now_s,
            record=record,
            inputs=request.inputs,
            is_foreign=not head.listener,
            rewritten=rewritten,
            prefill=prefill,
            endpoints=endpoints,
            destination=destination,
            reservation=self.beliefs.reserve(
                endpoints[0], wanted, now_s, matched=matched, duty=Duty.WHOLE if prefill is None else Duty.DECODE
            ),
            set_headers=tuple(steering),
            remove_headers=()
            if removed.isdisjoint(head.headers)
            else tuple(sorted(removed & head.headers.keys() - written)),
        )

    def _record(self, head: RequestHead, *, route: str = "", model: str = "") -> Record:
        request = head.headers.get(REQUEST_ID_HEADER) or str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        return Record(request=request[:MAX_ID], at_s=self._now(), route=route, model=model)

    def _refused(
        self,
        refusal: Refusal,
        head: RequestHead,
        record: Record | None = None,
        endpoints: Sequence[PoolEndpoint] = (),
    ) -> Answer:
        """Count and record a refusal."""
        self._metrics.refused(refusal.reason)
        record = record or self._record(head)
        record.refused = refusal.reason
        self.records.add(record, endpoints)
        if head.listener:
            return refusal.answer
        request = (REQUEST_ID_HEADER, record.request)
        return msgspec.structs.replace(refusal.answer, headers=(*refusal.answer.headers, request))


class _Request(NamedTuple):
    """A request on its way to its endpoint."""

    head: RequestHead
    inputs: RequestInputs
    wanted: Wanted
    rewritten: Rewritten | None
    prefill: Prefill | None


def _wanted(said: ModelRequest | None, rewritten: Rewritten | None, session: str, *, of_prompt: bool) -> Wanted:
    """Give what a request wants of an endpoint; a prompt is hashed only where somebody asks who holds it."""
    if said is None:
        return Wanted(session=session) if session else NOTHING
    model = rewritten.served if rewritten else said.model
    if not of_prompt:
        return Wanted(model=model, session=session)
    return Wanted(prompt_of(said.parts, f"{model}\0{said.salt}".encode()), model=model, session=session)


def _no_entry(request: Request, models: Collection[str]) -> Refusal:
    if request.model is not None and request.model not in models:
        return answers.unknown_model(request.model, models)
    if request.model is None and request.method in _METHODS_WITH_BODY:
        return answers.bad_body(EMPTY_BODY)
    return answers.no_route(request.method, request.path)


def _request(head: RequestHead, model: str | None = None) -> Request:
    headers = head.headers
    return Request(
        method=headers.get(":method", ""),
        authority=headers.get(":authority", ""),
        path=headers.get(":path", ""),
        headers=headers,
        model=model,
    )
