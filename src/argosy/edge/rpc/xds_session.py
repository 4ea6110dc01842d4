"""One Envoy's ADS stream as a state machine: requests and snapshots in, responses out. Waits for nothing.

Rules of this file:

- State of the world: a response holds every resource of its type. Its version is a hash of the content, so an Envoy
  that comes back with what it should have is sent nothing.
- Make before break: clusters and their endpoints first; listeners and routes once those are acknowledged. Clusters that
  the new snapshot no longer has stay until no route in force leads to them.
- Endpoints never wait for the acknowledgement of clusters: Envoy holds it back until the endpoints have come.
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
"""When a parent resource changes, Envoy waits for a fresh response of its child, changed or not."""


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
        self.digests: dict[str, bytes] = {}
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
            if url is LISTENERS and not self._clusters_are_warm():
                return
            state = self._types[url]
            if state.subscribed and not state.awaiting and not self._settled(url):
                yield self._respond(url, state)
        if any(self._leaving.values()) and self._nothing_leads_to_leaving():
            self._leaving = {CLUSTERS: {}, ASSIGNMENTS: {}}
            yield from self.responses()

    def _respond(self, url: str, state: _Type) -> Response:
        wanted = self._wanted(url)
        digests = {name: resource.digest for name, resource in wanted.items()}
        # What an Envoy that comes back has of this type is known by its version alone: anything may change for it.
        changed = not state.digests or any(digests.get(name, old) != old for name, old in state.digests.items())
        for child, parent in _PARENT.items():
            if parent == url and changed:
                self._types[child].stale = True
        self._responses += 1
        state.nonce = str(self._responses)
        state.sent = version_of(wanted)
        state.digests = digests
        state.awaiting = True
        state.stale = False
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

    def _nothing_leads_to_leaving(self) -> bool:
        """Whether Envoy has taken all that decides where requests go; a refused listener decides nothing of it."""
        refused = any(self._types[url].refusal for url in (CLUSTERS, ASSIGNMENTS, ROUTES))
        # Envoy asks for no routes where it has no listener that works.
        answered = all(map(self._settled, (CLUSTERS, ASSIGNMENTS, LISTENERS)))
        return answered and not refused and (self._settled(ROUTES) or not self._types[ROUTES].subscribed)

    def _clusters_are_warm(self) -> bool:
        """Whether Envoy has all clusters, has asked for the endpoints of all of them, and has got them."""
        clusters, endpoints = self._types[CLUSTERS], self._types[ASSIGNMENTS]
        if clusters.refusal or not clusters.subscribed:
            return True
        return (
            not clusters.awaiting
            and self._settled(ASSIGNMENTS)
            and self._snapshot[ASSIGNMENTS].keys() <= endpoints.names
        )
