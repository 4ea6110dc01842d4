"""The picker: from a request to an endpoint that is reserved for it, and back again when its stream ends.

Decisions are made by `decide`; here they get the world, the clock and the dice, and are counted.
"""

import random
import time
from collections.abc import Callable, Collection
from typing import Final

from argosy.api.names import DESTINATION, MAX_BODY_BYTES, MODEL_HEADER, POOL_HEADER, STEERING_HEADERS
from argosy.api.objects import Key
from argosy.api.openai import EMPTY_BODY, MODELS_PATH, BadBody, BodyReader
from argosy.apps.picker import answers
from argosy.apps.picker.answers import Refusal
from argosy.apps.picker.metrics import PickerMetrics
from argosy.apps.picker.pick import Pick, RequestHead
from argosy.apps.picker.world import EMPTY, World
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.match import Request, weighted_pool
from argosy.decide.routing.table import RouteEntry
from argosy.decide.scheduling.filters import eligible, subset_of
from argosy.decide.scheduling.loads import Loads
from argosy.decide.scheduling.schedule import schedule
from argosy.edge.rpc.ext_proc import Answer

_METHODS_WITH_BODY: Final = frozenset(("POST", "PUT", "PATCH"))


class Picker:
    """Decides all requests of one process (the `Decider` of its sessions)."""

    def __init__(
        self, metrics: PickerMetrics, *, rng: random.Random, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.loads = Loads()
        self._metrics = metrics
        self._rng = rng
        self._clock = clock
        self._reader = BodyReader()
        self._world = EMPTY

    @property
    def world(self) -> World:
        """What is known of the cluster."""
        return self._world

    def learn(self, world: World) -> None:
        """Decide by this state of the cluster from now on."""
        self._world = world
        endpoints = world.endpoints
        self.loads.keep_only(endpoints)
        self._metrics.know(world.pools, endpoints, world.models)

    def early_answer(self, head: RequestHead) -> Answer | None:
        """Refuse a body that announces itself as too large or compressed, before it is sent."""
        encoding = head.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            return self._counted(answers.encoded(encoding))
        length = head.headers.get("content-length", "")
        if length.isdecimal() and int(length) > MAX_BODY_BYTES:
            return self._counted(answers.too_large(int(length)))
        return None

    def decide(self, head: RequestHead, body: bytes | None) -> Pick | Answer:
        """Pick an endpoint and reserve it, or answer."""
        began_s = self._clock()
        request, matcher = _request(head), self._world.matcher_of(head.listener)
        if body is None:
            if request.method == "GET" and request.path.partition("?")[0] == MODELS_PATH:
                return answers.models(matcher.models)
        elif len(body) > MAX_BODY_BYTES:
            return self._counted(answers.too_large(len(body)))
        else:
            read = self._reader.read(body)
            if not isinstance(read, BadBody):
                request = _request(head, read.model)
            elif read.code != "missing_model" or matcher.entry(request) is None:
                return self._counted(answers.bad_body(read))
        entry = matcher.entry(request)
        if entry is None:
            return self._counted(_no_entry(request, matcher.models))
        picked = self._pick(entry, head, began_s)
        return self._counted(picked) if isinstance(picked, Refusal) else picked

    def served(self, pick: Pick, by: str) -> None:
        """Count the request where it is served, if that is not where it was sent."""
        names = pick.destination.split(",")
        if by == names[0]:
            return
        if by in names:
            self._metrics.fell_back(pick.pool)
            self.loads.move(pick.reservation, pick.endpoints[names.index(by)], self._clock())
        else:
            self._metrics.served_elsewhere(pick.pool)
            elsewhere = next((e for e in self._world.endpoints if str(e) == by), None)
            if elsewhere is not None:
                self.loads.move(pick.reservation, elsewhere, self._clock())

    def ended(self, pick: Pick, *, answered: bool) -> None:
        """Give the reservation back."""
        self.loads.release(pick.reservation, self._clock(), answered=answered)
        self._metrics.released(pick.pool)

    def _pick(self, entry: RouteEntry, head: RequestHead, began_s: float) -> Pick | Refusal:
        pool = weighted_pool(entry, self._rng.random())
        if pool is None:
            return answers.no_backends(entry.route)
        view = self._world.pools.get(pool)
        subset = None if head.subset is None else subset_of(head.subset)
        candidates = () if view is None else eligible(view.endpoints, subset)
        if not candidates:
            return answers.no_endpoints(pool, view, in_subset=subset is not None)
        endpoints = schedule(self.loads.believed(candidates, began_s)).endpoints
        return self._reserved(pool, endpoints, entry.match.model, head, began_s)

    def _reserved(
        self, pool: Key, endpoints: tuple[Endpoint, ...], model: str | None, head: RequestHead, began_s: float
    ) -> Pick:
        destination = ",".join(map(str, endpoints))
        now_s = self._clock()
        self._metrics.picked(pool, endpoints[0], model or "", now_s - began_s)
        steering = [(DESTINATION, destination), (POOL_HEADER, str(pool))]
        # Only a model of the table: it is one of ours, while a client's could hold anything.
        if model is not None:
            steering.append((MODEL_HEADER, model))
        written = {name for name, _ in steering}
        return Pick(
            pool=pool,
            endpoints=endpoints,
            destination=destination,
            reservation=self.loads.reserve(endpoints[0], now_s),
            set_headers=tuple(steering),
            remove_headers=tuple(h for h in STEERING_HEADERS if h in head.headers and h not in written),
        )

    def _counted(self, refusal: Refusal) -> Answer:
        self._metrics.refused(refusal.reason)
        return refusal.answer


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
