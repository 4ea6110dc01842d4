"""The store in memory against a model: a dictionary and the list of all changes."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from argosy.api.gateway import HTTPRoute, HTTPRouteStatus
from argosy.api.objects import Key
from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.port import Change, Event, Gone, NotFound, OwnedByAnother
from contracts.store_contract import route, status, with_status

HISTORY = 5
spaces = st.sampled_from(["x", "y"])
names = st.sampled_from(["a", "b", "c"])
owners = st.sampled_from(["one", "other"])


def finish(coroutine: Any) -> Any:
    """Run what never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the store in memory waited")


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        uids = map("uid{}".format, itertools.count())
        self.store = InMemoryStore(now=lambda: "then", new_uid=lambda: next(uids), history=HISTORY)
        self.model: dict[Key, tuple[str, HTTPRoute]] = {}
        self.changes: list[Event[HTTPRoute]] = []
        self.versions = [self.list().resource_version]
        self.forgotten = 0

    def list(self, namespace: str | None = None) -> Any:
        return finish(self.store.list(HTTPRoute, namespace=namespace))

    def changed(self, change: Change, obj: HTTPRoute) -> None:
        self.changes.append(Event(change, obj))
        self.versions.append(obj.metadata.resource_version or "")

    @rule(space=spaces, name=names, owner=owners, weight=st.integers(1, 2), label=st.sampled_from(["", "l"]))
    def apply(self, space: str, name: str, owner: str, weight: int, label: str) -> None:
        wanted = route(space, name, weight=weight, labels={"l": label} if label else {})
        old_owner, old = self.model.get(wanted.key, (owner, None))
        if owner != old_owner:
            with pytest.raises(OwnedByAnother, match=f"belongs to '{old_owner}'"):
                finish(self.store.apply(wanted, owner=owner))
            return
        given = finish(self.store.apply(wanted, owner=owner))
        assert (given.spec, given.metadata.labels) == (wanted.spec, wanted.metadata.labels)
        if old is None:
            assert (given.metadata.generation, given.status) == (1, HTTPRouteStatus())
            self.changed(Change.ADDED, given)
        elif (old.spec, old.metadata.labels) == (wanted.spec, wanted.metadata.labels):
            assert given == old
        else:
            assert given.metadata.generation == old.metadata.generation + (old.spec != wanted.spec)
            assert (given.status, given.metadata.uid) == (old.status, old.metadata.uid)
            self.changed(Change.MODIFIED, given)
        self.model[wanted.key] = (owner, given)

    @rule(space=spaces, name=names, message=st.sampled_from(["m", "n"]))
    def write_status(self, space: str, name: str, message: str) -> None:
        written = with_status(route(space, name, weight=9), message)
        if written.key not in self.model:
            with pytest.raises(NotFound):
                finish(self.store.write_status(written))
            return
        given = finish(self.store.write_status(written))
        owner, old = self.model[written.key]
        assert given.status == status(message)
        assert given.spec == old.spec
        if old.status != given.status:
            self.changed(Change.MODIFIED, given)
        self.model[written.key] = (owner, given)

    @rule(space=spaces, name=names, right_uid=st.booleans())
    def delete(self, space: str, name: str, right_uid: bool) -> None:  # noqa: FBT001 (hypothesis names its arguments)
        key = Key(space, name)
        _, old = self.model.get(key, (None, None))
        uid = old.metadata.uid if old is not None and right_uid else "another"
        finish(self.store.delete(HTTPRoute, key, uid=uid))
        if old is not None and right_uid:
            del self.model[key]
            version = self.list().resource_version
            self.changed(Change.DELETED, with_version(old, version))

    @rule()
    def forget(self) -> None:
        self.store.forget_history()
        self.forgotten = len(self.changes)

    @precondition(lambda self: self.changes)
    @rule(data=st.data(), space=st.one_of(st.none(), spaces))
    def watch(self, data: Any, space: str | None) -> None:
        start = data.draw(st.integers(0, len(self.changes)))
        later = [event for event in self.changes[start:] if space in (None, event.object.metadata.namespace)]
        if start < max(self.forgotten, len(self.changes) - HISTORY):
            assert self.watched(self.versions[start], space, 1) is Gone
        else:
            assert self.watched(self.versions[start], space, len(later)) == later

    def watched(self, since: str, space: str | None, count: int) -> Any:
        events = self.store.watch(HTTPRoute, since=since, namespace=space)
        try:
            return [finish(anext(events)) for _ in range(count)]
        except Gone:
            return Gone
        finally:
            finish(events.aclose())

    @invariant()
    def lists_what_the_model_holds_in_order(self) -> None:
        for space in (None, "x", "y"):
            expected = tuple(self.model[key][1] for key in sorted(self.model) if space in (None, key.namespace))
            assert self.list(space).items == expected
        assert self.list().resource_version == self.versions[-1]

    @invariant()
    def gives_every_change_a_version_of_its_own(self) -> None:
        assert len(set(self.versions)) == len(self.versions)


def with_version(obj: HTTPRoute, version: str) -> HTTPRoute:
    return msgspec.structs.replace(obj, metadata=msgspec.structs.replace(obj.metadata, resource_version=version))


StoreMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestStoreAgainstModel = StoreMachine.TestCase
