"""Prefill legs while they run: the picker asks the prefill worker, and the request goes on with what it says.

Rules of this file:

- Whatever goes wrong with a leg, the request goes on unchanged to its decode worker, unless its pool says otherwise.
- A worker that cannot be reached, breaks off, is late, fails by itself or keeps no state is set aside for a while; one
  that finds fault with the request, or takes no more now, is not.
- A worker that is no longer ready, and does not just finish, is not waited for.
- A leg ends once: with an outcome, or cancelled because its client has left.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, Final, Protocol

from argosy.api.names import LEG_HEADER
from argosy.apps.picker import answers
from argosy.apps.picker.answers import Refusal
from argosy.apps.picker.pick import Pick, Prefill, RequestHead
from argosy.apps.picker.prefills import Prefills
from argosy.base.endpoint import Endpoint
from argosy.edge.http.prefill import PrefillAnswer, PrefillFailed
from argosy.engines import nixlv2, sglang

_FORWARDED: Final = ("authorization", "x-request-id", "traceparent", "tracestate", "baggage")
_OK: Final = range(200, 300)
_CLIENTS_FAULT: Final = range(400, 500)
_UNAVAILABLE: Final = 503
DONE: Final = "done"
CANCELLED: Final = "cancelled"
BROKEN: Final = "broken"
NO_PARAMS: Final = "no_params"
REJECTED: Final = "rejected"
LOST: Final = "lost"

Result = bytes | Refusal | None
"""The changed body, None for the request as it came, or a refusal in its place."""
Done = Callable[[Result], None]


class PrefillWorkers(Protocol):
    """Where prefill requests are sent."""

    async def post(
        self, endpoint: Endpoint, path: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float
    ) -> PrefillAnswer | PrefillFailed:
        """Send one and give what comes of it."""


class Leg:
    """One leg under way. Where the request `goes_on` at once, it does so with `body`, if there is one."""

    def __init__(self, prefills: Prefills, pick: Pick, prefill: Prefill) -> None:
        self._prefills = prefills
        self._pick = pick
        self._prefill = prefill
        self._task: asyncio.Task[None] | None = None
        self._is_over = False
        self.is_cancelled = False
        self.goes_on = False
        self.body: bytes | None = None
        self.lost = asyncio.Event()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work that ends it."""
        self._task = asyncio.get_running_loop().create_task(work)

    def end(self, outcome: str, *, prompt_tokens: int = 0, set_aside: bool = False) -> None:
        """Take note of what came of it, unless it is over."""
        if not self._is_over:
            self._is_over = True
            self._prefills.ended(self._pick, self._prefill, outcome, prompt_tokens=prompt_tokens, set_aside=set_aside)

    def answered(self) -> None:
        """Take note that the request's answer begins, for which a leg beside it must have done its part."""
        if self.goes_on:
            self.end(DONE)

    def cancel(self) -> None:
        """End it: nobody wants its result any more."""
        self.is_cancelled = True
        self.end(CANCELLED)
        if self._task is not None:
            self._task.cancel()


class Legs:
    """Runs the legs of one picker."""

    def __init__(self, prefills: Prefills, workers: PrefillWorkers) -> None:
        self._prefills = prefills
        self._workers = workers
        self._asked: dict[Leg, Endpoint] = {}

    def lose_all_but(self, reachable: Collection[Endpoint]) -> None:
        """Wait no longer for workers that are not among these."""
        for leg, endpoint in self._asked.items():
            if endpoint not in reachable:
                leg.lost.set()

    def start(self, pick: Pick, prefill: Prefill, head: RequestHead, done: Done) -> Leg:
        """Begin a leg; `done` is told once what becomes of the request, unless it goes on at once, or is cancelled."""
        leg = Leg(self._prefills, pick, prefill)
        match prefill.policy.protocol:
            case "nixlv2":
                leg.run(self._before(leg, pick, prefill, head, done))
            case "sglang":
                leg.goes_on = True
                leg.body = sglang.paired_request(
                    prefill.fields,
                    host=prefill.endpoint.address,
                    port=prefill.policy.bootstrap_port,
                    room=prefill.room,
                )
                leg.run(self._beside(leg, prefill, head, leg.body))
            case "sidecar":
                leg.goes_on = True
        return leg

    async def _before(self, leg: Leg, pick: Pick, prefill: Prefill, head: RequestHead, done: Done) -> None:
        """Prefill, then let the request go on with where its state is."""
        result: Result = None
        try:
            result = await self._result(leg, pick, prefill, head)
        finally:
            # A mistake of ours must not hold the request.
            if not leg.is_cancelled:
                leg.end(BROKEN)
                done(result)

    async def _result(self, leg: Leg, pick: Pick, prefill: Prefill, head: RequestHead) -> Result:
        answer = await self._post(leg, prefill, head, nixlv2.prefill_request(prefill.fields))
        found = nixlv2.prefilled(answer.body) if isinstance(answer, PrefillAnswer) and _is_good(answer) else None
        if found is not None:
            leg.end(DONE, prompt_tokens=found.prompt_tokens)
            return nixlv2.decode_request(prefill.fields, found.params)
        outcome = _outcome(answer)
        leg.end(outcome, set_aside=_is_to_be_set_aside(answer))
        # What a prefill worker finds fault with the decode worker does too, and says it better.
        if prefill.policy.on_prefill_failure == "fail" and outcome != REJECTED:
            return answers.prefill_failed()
        self._prefills.compute_at_decode(pick, prefill)
        return None

    async def _beside(self, leg: Leg, prefill: Prefill, head: RequestHead, body: bytes) -> None:
        """Prefill while the decode worker waits for the state; what the prefill worker answers is of no use."""
        answer = await self._post(leg, prefill, head, body)
        is_good = _is_good(answer)
        leg.end(DONE if is_good else _outcome(answer), set_aside=not is_good and _is_to_be_set_aside(answer))

    async def _post(self, leg: Leg, prefill: Prefill, head: RequestHead, body: bytes) -> "_Answer":
        """Send the leg; gives None where its worker is lost meanwhile."""
        headers = {name: value for name in _FORWARDED if (value := head.headers.get(name))}
        headers |= {"content-type": "application/json", LEG_HEADER: "prefill"}
        path, timeout_s = head.headers.get(":path", "/"), prefill.policy.prefill_timeout_seconds
        asked = asyncio.ensure_future(self._workers.post(prefill.endpoint, path, headers, body, timeout_s=timeout_s))
        lost = asyncio.ensure_future(leg.lost.wait())
        self._asked[leg] = prefill.endpoint
        try:
            await asyncio.wait((asked, lost), return_when=asyncio.FIRST_COMPLETED)
            return asked.result() if asked.done() else None
        finally:
            del self._asked[leg]
            asked.cancel()
            lost.cancel()


_Answer = PrefillAnswer | PrefillFailed | None


def _is_good(answer: _Answer) -> bool:
    return isinstance(answer, PrefillAnswer) and answer.status in _OK


def _is_to_be_set_aside(answer: _Answer) -> bool:
    """Say whether a worker that gave nothing to go on from is likely to do so again."""
    if answer is None or isinstance(answer, PrefillFailed):
        return True
    return not (answer.status in _CLIENTS_FAULT or answer.status == _UNAVAILABLE)


def _outcome(answer: _Answer) -> str:
    if answer is None:
        return LOST
    if isinstance(answer, PrefillFailed):
        return answer.why
    if answer.status in _OK:
        return NO_PARAMS
    if answer.status == _UNAVAILABLE:
        return "unavailable"
    return REJECTED if answer.status in _CLIENTS_FAULT else "error"
