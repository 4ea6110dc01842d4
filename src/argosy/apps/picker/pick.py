"""What passes between a stream and the picker: the head of a request, and a pick."""

from collections.abc import Mapping

import msgspec

from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint
from argosy.decide.routing.inputs import NO_INPUTS, RequestInputs
from argosy.decide.routing.rewrites import Rewritten
from argosy.decide.scheduling.record import Record


class RequestHead(msgspec.Struct, frozen=True, kw_only=True):
    """A request without its body: headers as Envoy sent them, and the proxy's subset hint as it came.

    `listener` names the listener that it came in by, empty when the proxy does not say. `traceparent` is that of the
    proxy's call, empty when the proxy does not trace.
    """

    headers: Mapping[str, str]
    listener: str = ""
    subset: str | tuple[str, ...] | None = None
    traceparent: str = ""


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint reserved for a request, and the request's new headers. `endpoints[0]` is the pick.

    `at_s` is when it was picked, by the picker's clock. `record` is told what comes of it.
    `inputs` is what is believed of what the client wants. `is_foreign` says that it came by a gateway of another maker,
    `rewritten` that another model is to be put into the answer than the one that serves.
    """

    pool: Key
    at_s: float = 0.0
    record: Record
    inputs: RequestInputs = NO_INPUTS
    is_foreign: bool = False
    rewritten: Rewritten | None = None
    endpoints: tuple[Endpoint, ...]
    destination: str
    reservation: int
    set_headers: tuple[tuple[str, str], ...]
    remove_headers: tuple[str, ...]
