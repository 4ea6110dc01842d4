"""What passes between a stream and the picker: the head of a request, and a pick."""

from collections.abc import Mapping

import msgspec

from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint


class RequestHead(msgspec.Struct, frozen=True, kw_only=True):
    """A request without its body: headers as Envoy sent them, and the proxy's subset hint as it came.

    `listener` names the listener that it came in by, empty when the proxy does not say.
    """

    headers: Mapping[str, str]
    listener: str = ""
    subset: str | tuple[str, ...] | None = None


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint reserved for a request, and the request's new headers. `endpoints[0]` is the pick."""

    pool: Key
    endpoints: tuple[Endpoint, ...]
    destination: str
    reservation: int
    set_headers: tuple[tuple[str, str], ...]
    remove_headers: tuple[str, ...]
