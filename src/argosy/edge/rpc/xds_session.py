"""One Envoy's ADS stream as a state machine: requests and snapshots in, responses out. Waits for nothing.

Rules of this file:

- State of the world: a response holds every resource of its type. Its version is a hash of the content, so an Envoy
  that comes back with what it should have is sent nothing.
- Make before break: clusters, their endpoints, listeners, routes, in this order, each once the one before is
  acknowledged. Clusters that the new snapshot no longer has stay until no route in force leads to them.
- A request whose nonce is not that of the last response of its type is out of date and ignored.
- A refusal (NACK) leaves Envoy on what it had. The same content is offered again only by `offer_again`, or when other
  content comes; types behind a refused one go on.

Source: Envoy, "xDS REST and gRPC protocol": ACK and NACK, "Eventual consistency considerations".
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from argosy.edge.rpc.xds_encoding import ASSIGNMENTS, CLUSTERS, LISTENERS, ROUTES, Encoded, Snapshot, version_of

ORDER: Final = (CLUSTERS, ASSIGNMENTS, LISTENERS, ROUTES)
_NAMED: Final = frozenset((ASSIGNMENTS, ROUTES))
"""Types of which Envoy asks for the names that it needs; of the others it takes all."""
_PARENT: Final = {ASSIGNMENTS: CLUSTERS, ROUTES: LISTENERS}
"""Envoy waits for a fresh response of the child after each new one of the parent."""


class Request(NamedTuple):
    """What of an Envoy's request matters. `refusal` is its complaint, empty for an acknowledgement."""

    type_url: str
    version: str
    nonce: str
    names: frozenset[str]
    refusal: str


class Response(NamedTuple):
    """One response."""

    type_url: str
    version: str
    nonce: str
    resources: tuple[Encoded, ...]


class _Type:
    """What one Envoy knows of one type."""

    def __init__(self) -> None:
        self.subscribed = False
        self.names: frozenset[str] = frozenset()
        self.nonce = ""
        self.sent = ""
        self.awaiting = False
        self.stale = False
        self.refusal = ""


class Session:
    """The state of one stream."""

    def __init__(self) -> None:
        self._types = {url: _Type() for url in ORDER}
        self._snapshot: Snapshot = {}
        self._leaving: dict[str, dict[str, Encoded]] = {CLUSTERS: {}, ASSIGNMENTS: {}}
        self._responses = 0

    @property
    def accepted(self) -> bool:
        """Whether Envoy has acknowledged everything of the newest snapshot."""
        return bool(self._snapshot) and not self.refusal and all(map(self._settled, ORDER))

    @property
    def refusal(self) -> str:
        """What Envoy says against the last responses; empty when nothing."""
        return "; ".join(self._types[url].refusal for url in ORDER if self._types[url].refusal)

    def receive(self, request: Request) -> None:
        """Take in one request. Types that Argosy does not serve are ignored."""
        state = self._types.get(request.type_url)
        if state is None or request.nonce != state.nonce:
            return
        if not request.nonce:  # the first of its type on this stream; what Envoy has is from an earlier one
            state.sent = request.version
        state.subscribed = True
        state.awaiting = False
        state.names = request.names
        if request.nonce:
            state.refusal = request.refusal

    def offer(self, snapshot: Snapshot) -> None:
        """Make this the snapshot that Envoy should have."""
        for url, leaving in self._leaving.items():
            leaving.update(self._snapshot.get(url, {}))
        self._snapshot = snapshot

    def offer_again(self) -> None:
        """Offer once more what was refused: a port that was in use may be free by now."""
        for state in self._types.values():
            state.stale = state.stale or bool(state.refusal)

    def responses(self) -> Iterator[Response]:
        """Give what may be sent now. Call after each of the other methods."""
        if not self._snapshot:
            return
        for url in ORDER:
            state = self._types[url]
            if state.subscribed and not state.awaiting and not self._settled(url):  # at most one is under way
                yield self._respond(url, state)
            if state.awaiting or not self._clusters_are_warm(url):
                return
        if self.accepted and any(self._leaving.values()):
            self._leaving = {CLUSTERS: {}, ASSIGNMENTS: {}}
            yield from self.responses()

    def _respond(self, url: str, state: _Type) -> Response:
        wanted = self._wanted(url)
        self._responses += 1
        state.nonce = str(self._responses)
        state.sent = version_of(wanted)
        state.awaiting = True
        state.stale = False
        for child, parent in _PARENT.items():
            if parent == url:
                self._types[child].stale = self._types[child].subscribed
        return Response(url, state.sent, state.nonce, tuple(wanted[name] for name in sorted(wanted)))

    def _wanted(self, url: str) -> Mapping[str, Encoded]:
        resources = {**self._leaving.get(url, {}), **self._snapshot.get(url, {})}
        if url in _NAMED:
            names = self._types[url].names
            return {name: resource for name, resource in resources.items() if name in names}
        return resources

    def _settled(self, url: str) -> bool:
        """Whether Envoy has answered a response with what it should have now, be it with a refusal."""
        state = self._types[url]
        if not state.subscribed:
            return not self._snapshot[url]
        return not state.awaiting and not state.stale and state.sent == version_of(self._wanted(url))

    def _clusters_are_warm(self, url: str) -> bool:
        """Hold listeners and routes back until Envoy has asked for the endpoints of all new clusters and got them."""
        if url != ASSIGNMENTS or self._types[CLUSTERS].refusal:
            return True
        state = self._types[ASSIGNMENTS]
        return not self._types[CLUSTERS].subscribed or self._snapshot[ASSIGNMENTS].keys() <= state.names
