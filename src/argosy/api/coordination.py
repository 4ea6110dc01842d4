"""Lease (coordination.k8s.io/v1), by which one of several processes leads, and Event (v1), which tells people."""

from typing import ClassVar

from argosy.api.objects import Object, Value


class LeaseSpec(Value, frozen=True, kw_only=True):
    """Who holds it, since when (RFC 3339 with microseconds), and how long a renewal lasts in seconds."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Object, frozen=True, kw_only=True):
    """Held by one at a time."""

    API_VERSION: ClassVar[str] = "coordination.k8s.io/v1"
    KIND: ClassVar[str] = "Lease"
    PLURAL: ClassVar[str] = "leases"

    spec: LeaseSpec


class ObjectReference(Value, frozen=True, kw_only=True):
    """The object that an Event is about."""

    api_version: str
    kind: str
    name: str
    namespace: str | None = None
    uid: str | None = None


class EventSource(Value, frozen=True, kw_only=True):
    """Who says it."""

    component: str = ""


class Event(Object, frozen=True, kw_only=True):
    """Something that happened to an object; `type` is Normal or Warning, times are RFC 3339."""

    API_VERSION: ClassVar[str] = "v1"
    KIND: ClassVar[str] = "Event"
    PLURAL: ClassVar[str] = "events"

    involved_object: ObjectReference
    reason: str
    message: str
    type: str
    count: int = 1
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    source: EventSource | None = None
