"""The object store that a Kubernetes API server is.

Use it as a context: `async with KubernetesStore(settings_of_kubeconfig(path)) as store`.

Rules of this file:

- An owner is a field manager of server-side apply, and `apply` never forces: a field that another manager holds with
  another value makes the object `OwnedByAnother`. Fields that owners want alike they share; fields of others stay.
- `retake` forces only what the server itself has just said that managers hold who update, and only while the object is
  as it was then: its resource version goes with the forced apply.
- Nothing is written when the object is settled (settled.py), and no status that is there already.
- Unknown fields are refused (`fieldValidation=Strict`), not dropped: what was applied is what is wanted.
- A list comes in pages of one resource version. Bookmarks move the place from which a quiet watch goes on: for whoever
  watches again from the last event it was told of, the store goes on from the bookmark after it.
- No write is sent unless `may_write` says yes at that very moment, with the connection ready. What is retaken must
  besides be as it was read, so what a process that was stopped in the middle has left to send comes too late.
- With `dry_run` the server checks every write and keeps none: what it would refuse is refused.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

import msgspec

from argosy.api.objects import K, Key, Object, encode
from argosy.base.errors import CallerError
from argosy.edge.kube.additions import adopted
from argosy.edge.kube.answers import bookmark_of, line_of, object_of, page_of, understood
from argosy.edge.kube.connection import AnsweredWith, Connection, Status
from argosy.edge.kube.holders import left_to_others
from argosy.edge.kube.kubeconfig import Settings
from argosy.edge.kube.port import (
    Change,
    Changed,
    Event,
    Gone,
    Listing,
    NotFound,
    Rejected,
    Retaken,
)
from argosy.edge.kube.refusals import conflicts, read_error, reading, refusal, write_error, writing
from argosy.edge.kube.resource import path, path_of, wanted, wanted_status
from argosy.edge.kube.settled import settled, status_settled

PAGE: Final = 500
WATCH_S: Final = 60
"""A watch ends after so long, with a bookmark, and is asked for anew; so a dead connection is noticed in this time."""
STATUS_MANAGER: Final = "argosy-status"
ATTEMPTS: Final = 10
"""How often an object that changes under a `retake` is read anew."""


class KubernetesStore:
    """An `ObjectStore` at an API server. Its writes also raise `Rejected`.

    `fields` are field selectors by kind (`spec.nodeName=a`): of such a kind no other object is listed or watched.
    """

    def __init__(
        self,
        settings: Settings,
        may_write: Callable[[], bool] | None = None,
        *,
        page: int = PAGE,
        watch_s: int = WATCH_S,
        fields: Mapping[type[Object], str] = MappingProxyType({}),
        dry_run: bool = False,
    ) -> None:
        self._connection = Connection(settings)
        self._may_write = may_write
        self._fields = fields
        self._kept = {"dryRun": "All"} if dry_run else {}
        self._page = page
        self._watch_s = watch_s
        self._bookmarks: dict[tuple[type[Object], str | None], tuple[str, str]] = {}

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.__aexit__(kind, error, trace)

    @property
    def connection(self) -> Connection:
        """The way to the API server, for what is no object: logs, and requests passed on to pods."""
        return self._connection

    async def list(self, kind: type[K], *, namespace: str | None = None) -> Listing[K]:
        """Give all objects of a kind."""
        where = path(kind, namespace)
        chosen = self._chosen(kind)
        params = {"limit": str(self._page), **chosen}
        items: list[K] = []
        while True:
            try:
                with reading(kind):
                    page = page_of(kind, await self._connection.content(where, params))
            except Gone:
                if "continue" not in params:
                    raise
                # The pages' version was compacted meanwhile: take everything in one answer.
                items, params = [], dict(chosen)
                continue
            items += page.items or ()
            if not page.metadata.token:
                return Listing(tuple(sorted(items, key=lambda item: item.key)), page.metadata.resource_version)
            params["continue"] = page.metadata.token

    async def get(self, kind: type[K], key: Key) -> K | None:
        """Give one object, or None when it is not there."""
        observed = await self._read(kind, key)
        return None if observed is None else understood(kind, observed)

    async def watch(self, kind: type[K], *, since: str, namespace: str | None = None) -> AsyncIterator[Event[K]]:
        """Give every change after `since`, in order, for `watch_s` seconds. Raises `Gone`."""
        told, version = self._bookmarks.get((kind, namespace), (since, since))
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version if told == since else since,
            "timeoutSeconds": str(self._watch_s),
            **self._chosen(kind),
        }
        told = since
        lines = self._connection.lines(path(kind, namespace), params, silent_s=self._watch_s + 10)
        with reading(kind):
            async with aclosing(lines):
                async for content in lines:
                    line = line_of(content)
                    if line.type == "ERROR":
                        raise AnsweredWith(msgspec.json.decode(line.object, type=Status))
                    if line.type == "BOOKMARK":
                        self._bookmarks[kind, namespace] = (told, bookmark_of(line.object))
                        continue
                    obj = object_of(kind, line.object)
                    if obj is not None:
                        told = obj.metadata.resource_version or told
                        yield Event(Change(line.type), obj)

    async def apply(self, obj: K, *, owner: str) -> K:
        """Make the object so, status aside. Raises `OwnedByAnother`, and `NotFound` when its namespace is not there."""
        kind, values = type(obj), wanted(obj)
        observed = await self._read(kind, obj.key)
        if observed is not None and settled(values, observed, manager=owner):
            return understood(kind, observed)
        with writing(obj, owner):
            return understood(kind, await self._apply(obj, values, owner))

    async def retake(self, obj: K, *, owner: str) -> Retaken[K]:
        """Make the object so, but for what others apply or scale. Raises as `apply` does."""
        kind, values = type(obj), wanted(obj)
        overruled: Any = None
        for attempt in range(ATTEMPTS):
            observed = await self._read(kind, obj.key)
            rest, held = (values, ()) if observed is None else left_to_others(values, observed, manager=owner)
            if observed is not None and settled(rest, observed, manager=owner):
                return Retaken(understood(kind, observed), held)
            try:
                seen = rest if observed is None else _as_seen(rest, observed)
                answer = await self._apply(obj, seen, owner, force=observed is not None and rest == overruled)
                return Retaken(understood(kind, answer), held)
            except AnsweredWith as refused:
                others = conflicts(refused)
                if others and all(conflict.may_be_taken for conflict in others):
                    overruled = rest
                if attempt + 1 == ATTEMPTS or not await self._may_try_anew(obj, rest, owner, observed, refused):
                    raise write_error(refused, obj, owner) from refused
        raise CallerError("the last attempt has returned or raised")

    async def replace(self, obj: K, *, owner: str) -> K:
        """Make the object so, status aside, if it is still at the resource version of `obj`. Raises `Changed`."""
        if not (obj.metadata.uid and obj.metadata.resource_version):
            raise CallerError(f"{obj.KIND} {obj.key} is to be replaced as it was read, and carries no version")
        try:
            answer = await self._apply(obj, _as_seen(wanted(obj), encode(obj)), owner, force=True)
        except AnsweredWith as refused:
            if refused.status.code == 409:
                raise Changed(f"{obj.KIND} {obj.key} is not as it was read: {refused}") from refused
            raise write_error(refused, obj, owner) from refused
        return understood(type(obj), answer)

    async def delete(self, kind: type[Object], key: Key, *, uid: str | None = None) -> None:
        """Remove the object, and what it owns after it; with `uid`, only that very one."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        body: dict[str, Any] = options | ({} if uid is None else {"preconditions": {"uid": uid}})
        try:
            await self._send("DELETE", path(kind, key.namespace, key.name), {}, body)
        except AnsweredWith as answer:
            if answer.status.code == 404 or (answer.status.code == 409 and uid is not None):
                return
            raise refusal(answer, f"{kind.KIND} {key}: ") from answer

    async def write_status(self, obj: K) -> K:
        """Replace the status. Raises `NotFound`, also when the object has another uid than the one that is there."""
        if "status" not in obj.__struct_fields__:
            raise CallerError(f"{obj.KIND} has no status")
        kind = type(obj)
        observed = await self._read(kind, obj.key)
        if observed is None or obj.metadata.uid not in (None, observed["metadata"]["uid"]):
            raise NotFound(f"{obj.KIND} {obj.key} is not there")
        value = wanted_status(obj)
        if status_settled(value, observed):
            return understood(kind, observed)
        patch = [
            # Between reading and writing another may take its place; the server then says no more than "invalid".
            {"op": "test", "path": "/metadata/uid", "value": observed["metadata"]["uid"]},
            {"op": "add", "path": "/status", "value": value},
            # A status without anything in it may lack what its schema requires; none at all is always valid.
            *([] if value else [{"op": "remove", "path": "/status"}]),
        ]
        params = {"fieldManager": STATUS_MANAGER, "fieldValidation": "Strict"}
        try:
            with writing(obj, STATUS_MANAGER):
                answer = await self._send("PATCH", f"{path_of(obj)}/status", params, patch, "json-patch+json")
        except Rejected:
            now = await self._read(kind, obj.key)
            if now is None or now["metadata"]["uid"] != observed["metadata"]["uid"]:
                raise NotFound(f"{obj.KIND} {obj.key} has just been deleted") from None
            raise
        return understood(kind, answer)

    def _chosen(self, kind: type[Object]) -> dict[str, str]:
        return {"fieldSelector": self._fields[kind]} if kind in self._fields else {}

    async def _may_try_anew(self, obj: Object, values: Any, owner: str, observed: Any, refused: AnsweredWith) -> bool:
        """Say whether another attempt may help: it changed meanwhile, or a hand's additions stand in the way."""
        if refused.status.code == 409:
            return True
        twice = any(cause.reason == "FieldValueDuplicate" for cause in refused.status.causes)
        patch = adopted(values, observed, manager=owner) if twice and observed is not None else []
        if not patch:
            return False
        try:
            await self._send("PATCH", path_of(obj), {"fieldManager": owner}, patch, "json-patch+json")
        except AnsweredWith as late:
            # A patch of what has changed meanwhile is "invalid", and no more is said.
            return late.status.code in (409, 422)
        return True

    async def _apply(self, obj: Object, values: Any, owner: str, *, force: bool = False) -> Any:
        params = {"fieldManager": owner, "force": str(force).lower(), "fieldValidation": "Strict"}
        return await self._send("PATCH", path_of(obj), params, values, "apply-patch+yaml")

    async def _send(self, method: str, where: str, params: Mapping[str, str], body: Any, form: str = "json") -> Any:
        """Send a write. Raises `NotLeading` when it may not be sent, and `AnsweredWith`."""
        params = {**params, **self._kept}
        return await self._connection.call(method, where, params, body=body, form=form, may_send=self._may_write)

    async def _read(self, kind: type[Object], key: Key) -> Any:
        """Give an object as plain values, or None when it is not there."""
        try:
            return await self._connection.call("GET", path(kind, key.namespace, key.name), {})
        except AnsweredWith as answer:
            if answer.status.code == 404:
                return None
            raise read_error(kind, answer) from answer


def _as_seen(values: Any, observed: Any) -> Any:
    """Give what is applied only while the object is as it was observed; the uid, since an apply may make one anew."""
    seen = {name: observed["metadata"][name] for name in ("uid", "resourceVersion")}
    return values | {"metadata": values["metadata"] | seen}
