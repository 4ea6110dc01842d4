"""What every object store does, in memory, behind a socket or as an API server.

A subclass gives a fixture `harness`. Nothing here may ask what a real API server would not do: resource versions are
opaque, each test has a namespace of its own, and fields that a server adds are allowed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec
import pytest

from argosy.api.gateway import (
    BackendRef,
    HTTPRoute,
    HTTPRouteSpec,
    HTTPRouteStatus,
    ParentReference,
    RouteParentStatus,
    RouteRule,
)
from argosy.api.objects import Condition, Key, ObjectMeta, encode
from argosy.edge.kube.port import Change, Changed, Event, Gone, NotFound, ObjectStore, OwnedByAnother

DEADLINE_S = 10.0


class Harness(NamedTuple):
    store: ObjectStore
    namespace: str
    forget_history: Callable[[], Any]
    """Makes the store forget all changes so far (an API server: compact)."""


def route(namespace: str, name: str = "a", *, weight: int = 1, **metadata: Any) -> HTTPRoute:
    rule = RouteRule(backend_refs=(BackendRef(name="pool", port=8000, weight=weight),))
    return HTTPRoute(
        metadata=ObjectMeta(namespace=namespace, name=name, **metadata),
        spec=HTTPRouteSpec(parent_refs=(ParentReference(name="argosy"),), rules=(rule,)),
    )


def status(message: str) -> HTTPRouteStatus:
    condition = Condition(
        type="Accepted",
        status="True",
        reason="Accepted",
        message=message,
        last_transition_time="2026-01-01T00:00:00Z",
    )
    # Spelt out, because an API server adds what is left out here.
    gateway = ParentReference(group="gateway.networking.k8s.io", kind="Gateway", name="argosy")
    parent = RouteParentStatus(parent_ref=gateway, controller_name="argosy.dev/test", conditions=(condition,))
    return HTTPRouteStatus(parents=(parent,))


def with_status(obj: HTTPRoute, message: str) -> HTTPRoute:
    return msgspec.structs.replace(obj, status=status(message))


def contains(observed: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(observed, dict) and all(contains(observed.get(k), v) for k, v in wanted.items())
    if isinstance(wanted, list | tuple):
        return len(observed) == len(wanted) and all(map(contains, observed, wanted))
    return bool(observed == wanted)


async def take(events: AsyncIterator[Event[HTTPRoute]], count: int) -> list[Event[HTTPRoute]]:
    taken = []
    async with asyncio.timeout(DEADLINE_S):
        while len(taken) < count:
            taken.append(await anext(events))
    return taken


def summary(events: list[Event[HTTPRoute]]) -> list[tuple[Change, str]]:
    return [(event.change, event.object.metadata.name) for event in events]


class StoreContract:
    async def test_an_applied_object_is_listed_with_what_was_wanted_and_what_the_store_adds(
        self, harness: Harness
    ) -> None:
        wanted = route(harness.namespace, labels={"a": "b"}, annotations={"c": "d"})
        given = await harness.store.apply(wanted, owner="test")
        listing = await harness.store.list(HTTPRoute, namespace=harness.namespace)
        assert listing.items == (given,)
        assert listing.resource_version
        assert contains(encode(given), encode(wanted))
        assert given.metadata.uid
        assert given.metadata.resource_version
        assert given.metadata.generation == 1
        assert given.metadata.creation_timestamp

    async def test_a_listing_is_ordered_and_of_one_namespace(self, harness: Harness) -> None:
        for name in ("c", "a", "b"):
            await harness.store.apply(route(harness.namespace, name), owner="test")
        listing = await harness.store.list(HTTPRoute, namespace=harness.namespace)
        assert [item.metadata.name for item in listing.items] == ["a", "b", "c"]
        everything = (await harness.store.list(HTTPRoute)).items
        assert all(item in everything for item in listing.items)
        assert (await harness.store.list(HTTPRoute, namespace=f"{harness.namespace}-other")).items == ()

    async def test_applying_what_is_there_changes_nothing_and_sends_no_event(self, harness: Harness) -> None:
        first = await harness.store.apply(route(harness.namespace), owner="test")
        since = (await harness.store.list(HTTPRoute, namespace=harness.namespace)).resource_version
        again = await harness.store.apply(route(harness.namespace), owner="test")
        assert again == first
        assert await harness.store.apply(first, owner="test") == first
        await harness.store.apply(route(harness.namespace, "marker"), owner="test")
        async with aclosing(harness.store.watch(HTTPRoute, since=since, namespace=harness.namespace)) as events:
            assert summary(await take(events, 1)) == [(Change.ADDED, "marker")]

    async def test_generation_grows_with_the_spec_alone(self, harness: Harness) -> None:
        first = await harness.store.apply(route(harness.namespace), owner="test")
        labelled = await harness.store.apply(route(harness.namespace, labels={"a": "b"}), owner="test")
        assert labelled.metadata.generation == first.metadata.generation
        assert labelled.metadata.resource_version != first.metadata.resource_version
        reported = await harness.store.write_status(with_status(labelled, "fine"))
        assert reported.metadata.generation == first.metadata.generation
        changed = await harness.store.apply(route(harness.namespace, labels={"a": "b"}, weight=2), owner="test")
        assert changed.metadata.generation == 2
        assert changed.metadata.uid == first.metadata.uid
        assert changed.metadata.creation_timestamp == first.metadata.creation_timestamp

    async def test_a_field_that_its_owner_leaves_out_is_removed(self, harness: Harness) -> None:
        await harness.store.apply(route(harness.namespace, labels={"a": "1", "b": "2"}), owner="test")
        given = await harness.store.apply(route(harness.namespace, labels={"a": "1"}), owner="test")
        assert given.metadata.labels == {"a": "1"}

    async def test_apply_keeps_the_status_and_never_writes_one(self, harness: Harness) -> None:
        made = await harness.store.apply(with_status(route(harness.namespace), "from the owner"), owner="test")
        assert made.status == HTTPRouteStatus()
        await harness.store.write_status(with_status(made, "from the controller"))
        changed = await harness.store.apply(route(harness.namespace, weight=2), owner="test")
        assert changed.status == status("from the controller")

    async def test_write_status_replaces_the_status_alone(self, harness: Harness) -> None:
        made = await harness.store.apply(route(harness.namespace), owner="test")
        mixed = with_status(route(harness.namespace, weight=7), "first")
        assert (await harness.store.write_status(mixed)).spec == made.spec
        second = await harness.store.write_status(with_status(made, "second"))
        assert second.status == status("second")

    async def test_the_same_status_again_sends_no_event(self, harness: Harness) -> None:
        made = await harness.store.apply(route(harness.namespace), owner="test")
        reported = await harness.store.write_status(with_status(made, "fine"))
        again = await harness.store.write_status(with_status(made, "fine"))
        assert again.metadata.resource_version == reported.metadata.resource_version

    async def test_a_status_for_what_is_not_there_is_not_found(self, harness: Harness) -> None:
        with pytest.raises(NotFound):
            await harness.store.write_status(with_status(route(harness.namespace, "missing"), "lost"))

    async def test_a_status_for_a_successor_of_the_same_name_is_not_found(self, harness: Harness) -> None:
        first = await harness.store.apply(route(harness.namespace), owner="test")
        await harness.store.delete(HTTPRoute, first.key)
        await harness.store.apply(route(harness.namespace), owner="test")
        with pytest.raises(NotFound):
            await harness.store.write_status(with_status(first, "about the first"))

    async def test_the_object_of_another_owner_is_refused_with_its_name(self, harness: Harness) -> None:
        made = await harness.store.apply(route(harness.namespace), owner="test")
        with pytest.raises(OwnedByAnother) as refusal:
            await harness.store.apply(route(harness.namespace, weight=2), owner="other")
        assert refusal.value.owner == "test"
        assert (await harness.store.list(HTTPRoute, namespace=harness.namespace)).items == (made,)

    async def test_an_object_is_read_by_its_name(self, harness: Harness) -> None:
        made = await harness.store.apply(route(harness.namespace), owner="test")
        assert await harness.store.get(HTTPRoute, made.key) == made
        assert await harness.store.get(HTTPRoute, Key(harness.namespace, "missing")) is None

    async def test_retaking_makes_what_is_not_there_and_changes_what_is(self, harness: Harness) -> None:
        made = await harness.store.retake(route(harness.namespace), owner="test")
        assert made.held == ()
        assert await harness.store.get(HTTPRoute, made.object.key) == made.object
        changed = await harness.store.retake(route(harness.namespace, weight=2), owner="test")
        assert changed.held == ()
        assert changed.object.metadata.generation == 2
        assert contains(encode(changed.object), encode(route(harness.namespace, weight=2)))

    async def test_retaking_what_is_there_changes_nothing_and_keeps_the_status(self, harness: Harness) -> None:
        made = await harness.store.apply(route(harness.namespace), owner="test")
        reported = await harness.store.write_status(with_status(made, "fine"))
        assert await harness.store.retake(route(harness.namespace), owner="test") == (reported, ())
        changed = await harness.store.retake(with_status(route(harness.namespace, weight=2), "mine"), owner="test")
        assert changed.object.status == status("fine")

    async def test_what_another_owner_holds_is_left_to_it_by_name(self, harness: Harness) -> None:
        made = await harness.store.apply(route(harness.namespace), owner="test")
        left = await harness.store.retake(route(harness.namespace, weight=2), owner="other")
        assert [(held.holder, held.how) for held in left.held] == [("test", "apply")]
        assert left.object.spec == made.spec

    async def test_only_one_of_two_replaces_what_both_have_read(self, harness: Harness) -> None:
        read = await harness.store.apply(route(harness.namespace), owner="test")
        by_one = msgspec.structs.replace(read, spec=route(harness.namespace, weight=2).spec)
        by_other = msgspec.structs.replace(read, spec=route(harness.namespace, weight=3).spec)
        replaced = await harness.store.replace(by_one, owner="one")
        assert replaced.metadata.uid == read.metadata.uid
        assert contains(encode(replaced)["spec"], encode(by_one)["spec"])
        with pytest.raises(Changed):
            await harness.store.replace(by_other, owner="other")
        assert await harness.store.get(HTTPRoute, read.key) == replaced
        again = msgspec.structs.replace(replaced, spec=by_other.spec)
        assert contains(encode(await harness.store.replace(again, owner="other"))["spec"], encode(again)["spec"])

    async def test_what_has_been_deleted_is_not_replaced(self, harness: Harness) -> None:
        read = await harness.store.apply(route(harness.namespace), owner="test")
        await harness.store.delete(HTTPRoute, read.key)
        with pytest.raises(Changed):
            await harness.store.replace(read, owner="test")
        assert await harness.store.get(HTTPRoute, read.key) is None

    async def test_a_deleted_object_is_gone_and_the_next_one_is_another(self, harness: Harness) -> None:
        first = await harness.store.apply(route(harness.namespace), owner="test")
        await harness.store.delete(HTTPRoute, first.key)
        assert (await harness.store.list(HTTPRoute, namespace=harness.namespace)).items == ()
        second = await harness.store.apply(route(harness.namespace), owner="other")
        assert second.metadata.uid != first.metadata.uid
        assert second.metadata.generation == 1

    async def test_deleting_what_is_not_there_is_no_error(self, harness: Harness) -> None:
        await harness.store.delete(HTTPRoute, Key(harness.namespace, "missing"))
        await harness.store.delete(HTTPRoute, Key(harness.namespace, "missing"), uid="f00")

    async def test_deleting_with_another_uid_deletes_nothing(self, harness: Harness) -> None:
        made = await harness.store.apply(route(harness.namespace), owner="test")
        await harness.store.delete(HTTPRoute, made.key, uid="00000000-0000-0000-0000-000000000000")
        assert (await harness.store.list(HTTPRoute, namespace=harness.namespace)).items == (made,)
        await harness.store.delete(HTTPRoute, made.key, uid=made.metadata.uid)
        assert (await harness.store.list(HTTPRoute, namespace=harness.namespace)).items == ()

    async def test_a_watch_since_a_listing_sees_all_later_changes_in_order(self, harness: Harness) -> None:
        await harness.store.apply(route(harness.namespace, "before"), owner="test")
        since = (await harness.store.list(HTTPRoute, namespace=harness.namespace)).resource_version
        made = await harness.store.apply(route(harness.namespace), owner="test")
        async with aclosing(harness.store.watch(HTTPRoute, since=since, namespace=harness.namespace)) as events:
            assert await take(events, 1) == [Event(Change.ADDED, made)]
            changed = await harness.store.apply(route(harness.namespace, weight=2), owner="test")
            reported = await harness.store.write_status(with_status(changed, "fine"))
            await harness.store.delete(HTTPRoute, made.key)
            later = await take(events, 3)
        assert later[:2] == [Event(Change.MODIFIED, changed), Event(Change.MODIFIED, reported)]
        assert later[2].change is Change.DELETED
        assert later[2].object.spec == reported.spec
        assert later[2].object.metadata.uid == made.metadata.uid

    async def test_a_watch_can_be_resumed_from_the_version_of_any_event(self, harness: Harness) -> None:
        since = (await harness.store.list(HTTPRoute, namespace=harness.namespace)).resource_version
        for name in ("a", "b", "c"):
            await harness.store.apply(route(harness.namespace, name), owner="test")
        await harness.store.delete(HTTPRoute, Key(harness.namespace, "a"))
        await harness.store.apply(route(harness.namespace, "d"), owner="test")
        async with aclosing(harness.store.watch(HTTPRoute, since=since, namespace=harness.namespace)) as events:
            whole = await take(events, 5)
        for index, event in enumerate(whole[:-1]):
            version = event.object.metadata.resource_version or ""
            async with aclosing(harness.store.watch(HTTPRoute, since=version, namespace=harness.namespace)) as events:
                assert await take(events, 4 - index) == whole[index + 1 :]

    async def test_a_watch_sees_its_own_namespace_alone(self, harness: Harness) -> None:
        since = (await harness.store.list(HTTPRoute, namespace=harness.namespace)).resource_version
        await harness.store.apply(route("default", f"elsewhere-{harness.namespace}"), owner="test")
        await harness.store.apply(route(harness.namespace, "here"), owner="test")
        async with aclosing(harness.store.watch(HTTPRoute, since=since, namespace=harness.namespace)) as events:
            assert summary(await take(events, 1)) == [(Change.ADDED, "here")]
        await harness.store.delete(HTTPRoute, Key("default", f"elsewhere-{harness.namespace}"))

    async def test_a_watch_from_forgotten_history_is_gone_and_a_new_listing_helps(self, harness: Harness) -> None:
        since = (await harness.store.list(HTTPRoute, namespace=harness.namespace)).resource_version
        await harness.store.apply(route(harness.namespace), owner="test")
        await harness.store.apply(route(harness.namespace, weight=2), owner="test")
        forgotten = harness.forget_history()
        if asyncio.iscoroutine(forgotten):
            await forgotten
        with pytest.raises(Gone):
            async with aclosing(harness.store.watch(HTTPRoute, since=since, namespace=harness.namespace)) as events:
                await take(events, 1)
        since = (await harness.store.list(HTTPRoute, namespace=harness.namespace)).resource_version
        await harness.store.apply(route(harness.namespace, "later"), owner="test")
        async with aclosing(harness.store.watch(HTTPRoute, since=since, namespace=harness.namespace)) as events:
            assert summary(await take(events, 1)) == [(Change.ADDED, "later")]
