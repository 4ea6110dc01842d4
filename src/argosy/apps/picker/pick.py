"""What passes between a stream and the picker: the head of a request, a pick, and the prefill before it."""

from collections.abc import Mapping

import msgspec

from argosy.api.disaggregation import Disaggregation
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from argosy.decide.prefixes.prompt import Prompt
from argosy.decide.routing.inputs import NO_INPUTS, RequestInputs
from argosy.decide.routing.rewrites import Rewritten
from argosy.decide.scheduling.record import PrefillRecord, Record


class RequestHead(msgspec.Struct, frozen=True, kw_only=True):
    """A request without its body: headers as Envoy sent them, and the proxy's subset hint as it came.

    `listener` names the listener that it came in by, empty when the proxy does not say. `traceparent` is that of the
    proxy's call, empty when the proxy does not trace.
    """

    headers: Mapping[str, str]
    listener: str = ""
    subset: str | tuple[str, ...] | None = None
    traceparent: str = ""


class Prefill(msgspec.Struct, frozen=True, kw_only=True):
    """A prefill worker that is to compute a request's prompt, reserved for that since `at_s`, by the picker's clock.

    `fields` are the request's own, unread. `uncached` are the blocks that the decode worker has to compute if the
    prefill worker does not. `prompt_bytes` are of the prompt, `held_bytes` what the leg holds of bodies. `room` is a
    number below 2**63 that no other leg has.
    """

    endpoint: Endpoint
    reservation: int
    at_s: float
    policy: Disaggregation
    fields: Mapping[str, msgspec.Raw]
    uncached: float
    record: PrefillRecord
    model: str
    prompt: Prompt
    prompt_bytes: float
    held_bytes: int
    room: int


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint reserved for a request, and the request's new headers. `endpoints[0]` is the pick.

    `at_s` is when it was picked, by the picker's clock. `record` is told what comes of it.
    `inputs` is what is believed of what the client wants. `is_foreign` says that it came by a gateway of another maker,
    `rewritten` that another model is to be put into the answer than the one that serves. `prefill` is there where the
    prompt is computed elsewhere first.
    """

    pool: Key
    at_s: float = 0.0
    record: Record
    inputs: RequestInputs = NO_INPUTS
    is_foreign: bool = False
    rewritten: Rewritten | None = None
    prefill: Prefill | None = None
    endpoints: tuple[Endpoint, ...]
    destination: str
    reservation: int
    set_headers: tuple[tuple[str, str], ...]
    remove_headers: tuple[str, ...]
