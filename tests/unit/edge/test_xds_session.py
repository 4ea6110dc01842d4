"""The ADS session against a model of Envoy, joined by two queues; no sockets."""

from collections import deque
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.edge.rpc.xds_encoding import ASSIGNMENTS, CLUSTERS, LISTENERS, ROUTES, Encoded, Snapshot
from argosy.edge.rpc.xds_session import Request, Response, Session

ALL: frozenset[str] = frozenset()


def _resource(content: object) -> Encoded:
    return Encoded(content, repr(content).encode())


def _snapshot(models: Iterable[str], *, endpoints: str = "", options: str = "", port: int = 80) -> Snapshot:
    """Give what a gateway with these models looks like: `any` holds the name and what matters of it."""
    models = sorted(models)
    return {
        CLUSTERS: {model: _resource((model, options)) for model in models},
        ASSIGNMENTS: {model: _resource((model, endpoints)) for model in models},
        LISTENERS: {f"http/{port}": _resource((f"http/{port}",))},
        ROUTES: {f"http/{port}": _resource((f"http/{port}", tuple(models)))},
    }


class ModelEnvoy:
    """Envoy as far as ADS sees it.

    A new or changed cluster is warm once endpoints have come after it; until all are, the acknowledgement of clusters
    is held back, as the real one does, which gives up waiting after 15 s. Routes may be in force only when all their
    clusters are warm.
    """

    def __init__(self, refuse: frozenset[str] = frozenset()) -> None:
        self.refuse = refuse
        self.inbox: deque[Response] = deque()
        self.outbox: deque[Request] = deque()
        self.nonces = dict.fromkeys((CLUSTERS, ASSIGNMENTS, LISTENERS, ROUTES), "")
        self.versions = dict(self.nonces)
        self.clusters: dict[str, object] = {}
        self.warm: set[str] = set()
        self.warming: set[str] = set()
        self.endpoints: dict[str, object] = {}
        self.listeners: set[str] = set()
        self.routes: dict[str, tuple[str, ...]] = {}
        self.received = 0
        self._held: Request | None = None

    def connect(self) -> None:
        self.nonces = dict.fromkeys(self.nonces, "")
        self.inbox.clear()
        self.outbox.clear()
        self._held = None
        for url in (CLUSTERS, LISTENERS):
            self._say(url, ALL)
        if self.clusters:
            self._say(ASSIGNMENTS, frozenset(self.clusters))
        if self.listeners:
            self._say(ROUTES, frozenset(self.listeners))

    def step(self) -> None:
        response = self.inbox.popleft()
        self.received += 1
        self.nonces[response.type_url] = response.nonce
        if response.type_url in self.refuse:
            self._say(response.type_url, self._names(response.type_url), "refused")
            return
        self.versions[response.type_url] = response.version
        values = {resource.any[0]: resource.any for resource in response.resources}
        match response.type_url:
            case str(url) if url == CLUSTERS:
                self._take_clusters(values)
            case str(url) if url == ASSIGNMENTS:
                self.endpoints.update(values)
                self.warm |= values.keys() & self.clusters.keys()
                self.warming -= values.keys()
                self._say(ASSIGNMENTS, self._names(ASSIGNMENTS))
            case str(url) if url == LISTENERS:
                before, self.listeners = self.listeners, set(values)
                if before != self.listeners:
                    self._say(ROUTES, frozenset(self.listeners))
                self._say(LISTENERS, ALL)
            case _:
                self.routes = {name: value[1] for name, value in values.items()}
                self._say(ROUTES, self._names(ROUTES))
        self._release()

    def in_force(self) -> set[str]:
        return {cluster for name, clusters in self.routes.items() if name in self.listeners for cluster in clusters}

    def _take_clusters(self, values: dict[str, object]) -> None:
        changed = {name for name, value in values.items() if self.clusters.get(name) not in (None, value)}
        new = values.keys() - self.clusters.keys()
        names_before = set(self.clusters)
        self.clusters = values
        # A changed cluster serves as it was until its successor is warm.
        self.warm = (self.warm & values.keys()) - new
        self.warming = (self.warming & values.keys()) | new | changed
        if names_before != set(values) or changed:
            self._say(ASSIGNMENTS, frozenset(values))
        self._held = Request(CLUSTERS, self.versions[CLUSTERS], self.nonces[CLUSTERS], ALL, "")

    def _release(self) -> None:
        if self._held is not None and not self.warming:
            self.outbox.append(self._held)
            self._held = None

    def _names(self, url: str) -> frozenset[str]:
        return {ASSIGNMENTS: frozenset(self.clusters), ROUTES: frozenset(self.listeners)}.get(url, ALL)

    def _say(self, url: str, names: frozenset[str], refusal: str = "") -> None:
        self.outbox.append(Request(url, self.versions[url], self.nonces[url], names, refusal))


def _pump(session: Session, envoy: ModelEnvoy, turns: Iterable[bool] = ()) -> None:
    """Let both talk until neither has anything to say; `turns` says whose turn it is, then they alternate."""
    order = iter(turns)
    envoy.inbox.extend(session.responses())
    while envoy.inbox or envoy.outbox:
        if envoy.outbox and (not envoy.inbox or next(order, True)):
            session.receive(envoy.outbox.popleft())
            envoy.inbox.extend(session.responses())
        else:
            envoy.step()
            assert envoy.in_force() <= envoy.warm, "a route in force leads to a cluster that is not there"


def _connected(snapshot: Snapshot | None = None, envoy: ModelEnvoy | None = None) -> tuple[Session, ModelEnvoy]:
    session, envoy = Session(), envoy or ModelEnvoy()
    if snapshot is not None:
        session.offer(snapshot)
    envoy.connect()
    _pump(session, envoy)
    return session, envoy


def test_nothing_is_sent_before_there_is_a_snapshot() -> None:
    session, envoy = _connected()
    assert envoy.received == 0
    assert not session.accepted
    session.offer(_snapshot("a"))
    _pump(session, envoy)
    assert session.accepted
    assert envoy.in_force() == {"a"}


def test_an_envoy_that_comes_back_with_what_it_should_have_is_sent_nothing() -> None:
    _, envoy = _connected(_snapshot("ab"))
    received = envoy.received
    session, _ = _connected(_snapshot("ab"), envoy)
    assert envoy.received == received
    assert session.accepted


def test_an_envoy_that_comes_back_to_changed_clusters_is_sent_their_endpoints_though_they_are_the_same() -> None:
    _, envoy = _connected(_snapshot("ab"))
    session, _ = _connected(_snapshot("ab", options="other"), envoy)
    assert session.accepted
    assert not envoy.warming


def test_an_envoy_that_comes_back_to_a_changed_listener_is_sent_its_routes_though_they_are_the_same() -> None:
    before = _snapshot("a")
    _, envoy = _connected(before)
    received = envoy.received
    session, _ = _connected({**before, LISTENERS: {"http/80": _resource(("http/80", "other"))}}, envoy)
    assert session.accepted
    assert envoy.received == received + 2


def test_endpoints_alone_are_sent_when_they_alone_change() -> None:
    session, envoy = _connected(_snapshot("ab"))
    received = envoy.received
    session.offer(_snapshot("ab", endpoints="new"))
    _pump(session, envoy)
    assert envoy.received == received + 1
    assert envoy.endpoints["a"] == ("a", "new")


def test_a_changed_cluster_is_followed_by_its_endpoints_though_they_are_the_same() -> None:
    session, envoy = _connected(_snapshot("ab"))
    received = envoy.received
    session.offer(_snapshot("ab", options="other"))
    _pump(session, envoy)
    assert envoy.received == received + 2
    assert session.accepted


def test_clusters_that_left_are_removed_last() -> None:
    session, envoy = _connected(_snapshot("ab"))
    session.offer(_snapshot("bc"))
    _pump(session, envoy)
    assert envoy.clusters.keys() == {"b", "c"}
    assert envoy.in_force() == {"b", "c"}
    assert session.accepted


def test_a_refusal_is_reported_and_not_answered_until_it_is_offered_again() -> None:
    envoy = ModelEnvoy(refuse=frozenset((LISTENERS,)))
    session, _ = _connected(_snapshot("a"), envoy)
    assert session.refusal == "refused"
    assert not session.accepted
    received = envoy.received
    _pump(session, envoy)
    assert envoy.received == received
    session.offer_again()
    _pump(session, envoy)
    assert envoy.received == received + 1
    envoy.refuse = frozenset()
    session.offer_again()
    _pump(session, envoy)
    assert session.accepted
    assert session.refusal == ""


def test_endpoints_and_clusters_go_on_while_listeners_are_refused() -> None:
    envoy = ModelEnvoy(refuse=frozenset((LISTENERS,)))
    session, _ = _connected(_snapshot("a"), envoy)
    session.offer(_snapshot("ab", endpoints="new"))
    _pump(session, envoy)
    assert envoy.clusters.keys() == {"a", "b"}
    assert envoy.endpoints["a"] == ("a", "new")


@pytest.mark.parametrize("is_there", [True, False])
def test_clusters_leave_though_a_listener_is_refused(*, is_there: bool) -> None:
    envoy = ModelEnvoy() if is_there else ModelEnvoy(refuse=frozenset((LISTENERS,)))
    session, _ = _connected(_snapshot("a"), envoy)
    envoy.refuse = frozenset((LISTENERS,))
    for number in range(20):
        changed = _snapshot([f"model-{number}"])
        session.offer({**changed, LISTENERS: {"http/80": _resource(("http/80", number))}})
        _pump(session, envoy)
        assert session.refusal == "refused"
        assert envoy.clusters.keys() == {f"model-{number}"}


def test_clusters_stay_while_the_routes_that_no_longer_lead_to_them_are_refused() -> None:
    session, envoy = _connected(_snapshot("a"))
    envoy.refuse = frozenset((ROUTES,))
    session.offer(_snapshot("b"))
    _pump(session, envoy)
    assert envoy.in_force() == {"a"}
    assert envoy.clusters.keys() == {"a", "b"}


def test_refused_clusters_do_not_hold_routes_back() -> None:
    envoy = ModelEnvoy()
    session, _ = _connected(_snapshot("a"), envoy)
    envoy.refuse = frozenset((CLUSTERS,))
    session.offer(_snapshot("a", options="bad", port=81))
    _pump(session, envoy)
    assert envoy.listeners == {"http/81"}
    assert session.refusal == "refused"


def test_a_request_with_an_old_nonce_and_one_of_another_type_are_ignored() -> None:
    session, envoy = _connected(_snapshot("a"))
    session.receive(Request(CLUSTERS, "x", "stale", ALL, "stale refusal"))
    session.receive(Request("type.googleapis.com/unknown", "", "", ALL, ""))
    assert session.refusal == ""
    assert list(session.responses()) == []
    assert envoy.in_force() == {"a"}


def test_a_gateway_without_listeners_is_accepted_too() -> None:
    session, _ = _connected({CLUSTERS: {}, ASSIGNMENTS: {}, LISTENERS: {}, ROUTES: {}})
    assert session.accepted


snapshots = st.builds(
    _snapshot,
    st.sets(st.sampled_from("abc")),
    endpoints=st.sampled_from(["x", "y"]),
    options=st.sampled_from(["o", "p"]),
    port=st.sampled_from([80, 81]),
)


@given(st.lists(snapshots, min_size=1, max_size=4), st.lists(st.booleans(), max_size=40), st.integers(0, 3))
def test_whatever_changes_in_whatever_order_messages_pass_no_route_leads_nowhere_and_all_is_accepted(
    history: list[Snapshot], turns: list[bool], midway: int
) -> None:
    session, envoy = _connected(_snapshot("a"))
    order = iter(turns)
    for number, snapshot in enumerate(history):
        session.offer(snapshot)
        if number == midway:
            envoy.inbox.extend(session.responses())  # the next snapshot comes while these are under way
            continue
        _pump(session, envoy, order)
    _pump(session, envoy, order)
    assert session.accepted
    wanted = history[-1]
    assert envoy.clusters == {name: each.any for name, each in wanted[CLUSTERS].items()}
    assert envoy.in_force() == set(wanted[CLUSTERS])
    assert {name: envoy.endpoints[name] for name in wanted[ASSIGNMENTS]} == {
        name: each.any for name, each in wanted[ASSIGNMENTS].items()
    }
