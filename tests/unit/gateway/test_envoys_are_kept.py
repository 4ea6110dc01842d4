"""The gateway controller over a store in memory: Envoys of Gateways come, are kept, and go."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable

import pytest

from argosy.api.gateway import (
    Gateway,
    GatewayClass,
    GatewayClassSpec,
    GatewaySpec,
    HTTPRoute,
    HTTPRouteSpec,
    Listener,
    ParentReference,
)
from argosy.api.kubernetes import Deployment, Service, ServiceAccount, ServicePort, ServiceSpec
from argosy.api.names import CONTROLLER_NAME
from argosy.api.objects import K, Key, Object, ObjectMeta
from argosy.api.policy import PodDisruptionBudget
from argosy.apps.gateway import writer
from argosy.apps.gateway.gateway import GatewayApp, Settings
from argosy.base.endpoint import Endpoint
from argosy.decide.planning.proxies import KINDS, ProxySettings
from argosy.decide.translation.translate import Settings as TranslationSettings
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.port import Held, Rejected, Retaken, StoreUnavailable
from harness.waiting import until

CONTROLLER = Key("argosy-system", "argosy-gateway")
EDGE = Key("team", "edge")
NAME = Key("team", "edge-envoy")


class Store(InMemoryStore):
    """A store that can be away, and refuse, and leave fields to others."""

    def __init__(self) -> None:
        uids = itertools.count()
        super().__init__(now=lambda: "2026-01-01T00:00:00Z", new_uid=lambda: f"uid-{next(uids)}")
        self.writes: list[str] = []
        self.trouble: Callable[[Object], None] = lambda _obj: None
        self.held: tuple[Held, ...] = ()

    async def retake(self, obj: K, *, owner: str) -> Retaken[K]:
        self.writes.append(f"{owner} {obj.KIND} {obj.key}")
        self.trouble(obj)
        retaken = await super().retake(obj, owner=owner)
        return Retaken(retaken.object, self.held)


class Run:
    """A running controller."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.leads = True
        translation = TranslationSettings(bind_address="0.0.0.0", picker=Key("argosy-system", "argosy-picker"))
        settings = Settings(translation=translation, proxies=ProxySettings(controller=CONTROLLER))
        address = Endpoint("127.0.0.1", 0)
        self.app = GatewayApp(store, settings, address, now=lambda: "2026-01-01T00:00:00Z", leads=lambda: self.leads)

    async def has(self, *kinds: type[Object]) -> bool:
        return all([await self.store.get(kind, NAME) is not None for kind in kinds])

    async def message(self) -> str:
        gateway = await self.store.get(Gateway, EDGE)
        assert gateway is not None
        return next((c.message for c in gateway.status.conditions if c.type == "Programmed"), "")


@pytest.fixture
async def run(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Run]:
    monkeypatch.setattr(writer, "RETRY_S", 0.02)
    monkeypatch.setattr(writer, "REFUSED_RETRY_S", 0.05)
    running = Run(Store())
    await running.app.start()
    task = asyncio.create_task(running.app.run(random.Random(0)))
    try:
        spec = GatewayClassSpec(controller_name=CONTROLLER_NAME)
        await running.store.apply(GatewayClass(metadata=ObjectMeta(name="argosy"), spec=spec), owner="test")
        metadata = ObjectMeta(name=CONTROLLER.name, namespace=CONTROLLER.namespace)
        own = Service(metadata=metadata, spec=ServiceSpec(cluster_ip="10.96.0.7", ports=(ServicePort(port=18000),)))
        await running.store.apply(own, owner="test")
        yield running
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def make_gateway(run: Run) -> None:
    listener = Listener(name="http", port=80, protocol="HTTP")
    spec = GatewaySpec(gateway_class_name="argosy", listeners=(listener,))
    await run.store.apply(
        Gateway(metadata=ObjectMeta(name=EDGE.name, namespace=EDGE.namespace), spec=spec), owner="test"
    )


async def test_a_gateway_gets_its_envoys_and_takes_them_along(run: Run) -> None:
    await make_gateway(run)
    await until(lambda: run.has(*KINDS))
    await run.store.delete(Gateway, EDGE)

    async def are_gone() -> bool:
        return not any([await run.store.get(kind, NAME) for kind in KINDS])

    await until(are_gone)


@pytest.mark.parametrize("kind", [Deployment, Service, ServiceAccount, PodDisruptionBudget])
async def test_what_a_hand_deletes_comes_back(run: Run, kind: type[Object]) -> None:
    await make_gateway(run)
    await until(lambda: run.has(*KINDS))
    await run.store.delete(kind, NAME)
    await until(lambda: run.has(kind))


async def test_what_the_store_refuses_is_said_in_the_gateways_status_and_tried_again(run: Run) -> None:
    def over_quota(obj: Object) -> None:
        if isinstance(obj, Deployment):
            raise Rejected("exceeded quota: envoys")

    run.store.trouble = over_quota
    await make_gateway(run)

    async def is_said() -> bool:
        return "Deployment team/edge-envoy cannot be written: exceeded quota: envoys" in await run.message()

    await until(is_said)
    assert await run.has(Service, ServiceAccount)
    run.store.trouble = lambda _obj: None
    await until(lambda: run.has(*KINDS))

    async def is_no_longer_said() -> bool:
        return await run.message() == "no Envoy is connected"

    await until(is_no_longer_said)


async def test_a_store_that_is_away_costs_nothing_but_delay(run: Run) -> None:
    def away(_obj: Object) -> None:
        raise StoreUnavailable("it is away")

    run.store.trouble = away
    await make_gateway(run)
    await until(lambda: len(run.store.writes) > 3)
    assert not await run.has(Deployment)
    run.store.trouble = lambda _obj: None
    await until(lambda: run.has(*KINDS))


async def test_what_is_left_to_others_is_no_trouble(run: Run) -> None:
    run.store.held = (Held(field="spec.replicas", holder="autoscaler", how="scale"),)
    await make_gateway(run)
    await until(lambda: run.has(*KINDS))
    assert await run.message() in ("", "no Envoy is connected")


async def test_a_strangers_object_of_the_name_is_left_alone_and_said(run: Run) -> None:
    theirs = Service(
        metadata=ObjectMeta(name=NAME.name, namespace=NAME.namespace), spec=ServiceSpec(selector={"a": "b"})
    )
    await run.store.apply(theirs, owner="somebody")
    await make_gateway(run)

    async def is_said() -> bool:
        return "Service team/edge-envoy is somebody else's" in await run.message()

    await until(is_said)
    assert not run.store.writes
    found = await run.store.get(Service, NAME)
    assert found is not None
    assert found.spec == theirs.spec


async def test_once_all_is_right_nothing_is_written(run: Run) -> None:
    await make_gateway(run)
    await until(lambda: run.has(*KINDS))

    async def has_status() -> bool:
        return await run.message() != ""

    await until(has_status)
    before = list(run.store.writes)
    # Something else changes, so that there is one more round, which ends with this route's status.
    parent = ParentReference(name=EDGE.name)
    route = HTTPRoute(metadata=ObjectMeta(name="r", namespace="team"), spec=HTTPRouteSpec(parent_refs=(parent,)))
    await run.store.apply(route, owner="test")

    async def is_judged() -> bool:
        found = await run.store.get(HTTPRoute, route.key)
        return found is not None and bool(found.status.parents)

    await until(is_judged)
    assert run.store.writes == before


async def test_who_does_not_lead_writes_nothing(run: Run) -> None:
    run.leads = False
    await make_gateway(run)
    run.app.look()
    await until(lambda: not run.app._due.is_set())
    await until(lambda: not run.app._writer._wished.is_set())
    assert not run.store.writes
    run.leads = True
    run.app.look()
    await until(lambda: run.has(*KINDS))
