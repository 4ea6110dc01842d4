"""The object store that a Kubernetes API server is.

Use it as a context: `async with KubernetesStore(settings_of_kubeconfig(path)) as store`.

Rules of this file:

- An owner is a field manager of server-side apply, and never forces: a field that another manager holds with another
  value makes the object `OwnedByAnother`. Fields that owners want alike they share; fields of others stay.
- Nothing is written when the object is settled (settled.py), and no status that is there already.
- Unknown fields are refused (`fieldValidation=Strict`), not dropped: what was applied is what is wanted.
- A list comes in pages of one resource version. Bookmarks move the place from which a quiet watch goes on: for whoever
  watches again from the last event it was told of, the store goes on from the bookmark after it.
- An object that does not decode is logged and left out: a stranger's odd object hides nothing else.
"""

import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import msgspec

from argosy.api.objects import K, Key, Object, decode, encode
from argosy.base.errors import CallerError
from argosy.edge.kube.connection import AnsweredWith, Connection, Settings, Status
from argosy.edge.kube.port import (
    Change,
    Event,
    Gone,
    Listing,
    NotFound,
    OwnedByAnother,
    Rejected,
    StoreUnavailable,
)
from argosy.edge.kube.settled import settled, status_settled

PAGE: Final = 500
WATCH_S: Final = 60
"""A watch ends after so long, with a bookmark, and is asked for anew; so a dead connection is noticed in this time."""
STATUS_MANAGER: Final = "argosy-status"
_SERVER_KEPT: Final = ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")
_HOLDER: Final = re.compile(r'conflict with "([^"]*)"')
_log = logging.getLogger(__name__)


class KubernetesStore:
    """An `ObjectStore` at an API server. Its writes also raise `Rejected`."""

    def __init__(self, settings: Settings, *, page: int = PAGE, watch_s: int = WATCH_S) -> None:
        self._connection = Connection(settings)
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

    async def list(self, kind: type[K], *, namespace: str | None = None) -> Listing[K]:
        """Give all objects of a kind."""
        path = _path(kind, namespace)
        params = {"limit": str(self._page)}
        raw: list[Any] = []
        while True:
            try:
                items, token, version = await self._one_page(kind, path, params)
            except Gone:
                if "continue" not in params:
                    raise
                # The pages' version was compacted meanwhile: take everything in one answer.
                raw, params = [], {}
                continue
            raw += items
            if not token:
                return Listing(tuple(sorted(_readable(kind, raw), key=lambda item: item.key)), version)
            params["continue"] = token

    async def watch(self, kind: type[K], *, since: str, namespace: str | None = None) -> AsyncIterator[Event[K]]:
        """Give every change after `since`, in order, for `watch_s` seconds. Raises `Gone`."""
        told, version = self._bookmarks.get((kind, namespace), (since, since))
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version if told == since else since,
            "timeoutSeconds": str(self._watch_s),
        }
        told = since
        lines = self._connection.lines(_path(kind, namespace), params, silent_s=self._watch_s + 10)
        with _reading(kind):
            async with aclosing(lines):
                async for line in lines:
                    raw = line["object"]
                    if line["type"] == "ERROR":
                        raise AnsweredWith(msgspec.convert(raw, Status))
                    if line["type"] == "BOOKMARK":
                        self._bookmarks[kind, namespace] = (told, raw["metadata"]["resourceVersion"])
                        continue
                    for obj in _readable(kind, [raw]):
                        told = raw["metadata"]["resourceVersion"]
                        yield Event(Change(line["type"]), obj)

    async def apply(self, obj: K, *, owner: str) -> K:
        """Make the object so, status aside. Raises `OwnedByAnother`, and `NotFound` when its namespace is not there."""
        kind = type(obj)
        wanted = _wanted(obj)
        observed = await self._get(kind, obj.key)
        if observed is not None and settled(wanted, observed, manager=owner):
            return _understood(kind, observed)
        params = {"fieldManager": owner, "force": "false", "fieldValidation": "Strict"}
        with _writing(obj, owner):
            path = _path(kind, obj.key.namespace, obj.key.name)
            answer = await self._connection.call("PATCH", path, params, body=wanted, form="apply-patch+yaml")
        return _understood(kind, answer)

    async def delete(self, kind: type[Object], key: Key, *, uid: str | None = None) -> None:
        """Remove the object, and what it owns after it; with `uid`, only that very one."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        body: dict[str, Any] = options | ({} if uid is None else {"preconditions": {"uid": uid}})
        try:
            await self._connection.call("DELETE", _path(kind, key.namespace, key.name), {}, body=body)
        except AnsweredWith as answer:
            if answer.status.code == 404 or (answer.status.code == 409 and uid is not None):
                return
            raise _write_error(answer) from answer

    async def write_status(self, obj: K) -> K:
        """Replace the status. Raises `NotFound`, also when the object has another uid than the one that is there."""
        if "status" not in obj.__struct_fields__:
            raise CallerError(f"{obj.KIND} has no status")
        kind = type(obj)
        observed = await self._get(kind, obj.key)
        if observed is None or obj.metadata.uid not in (None, observed["metadata"]["uid"]):
            raise NotFound(f"{obj.KIND} {obj.key} is not there")
        value = _with_messages(msgspec.to_builtins(obj).get("status", {}))
        if status_settled(value, observed):
            return _understood(kind, observed)
        patch = [
            # Between reading and writing another may take its place; the server then says no more than "invalid".
            {"op": "test", "path": "/metadata/uid", "value": observed["metadata"]["uid"]},
            {"op": "add", "path": "/status", "value": value},
            # A status without anything in it may lack what its schema requires; none at all is always valid.
            *([] if value else [{"op": "remove", "path": "/status"}]),
        ]
        path = f"{_path(kind, obj.key.namespace, obj.key.name)}/status"
        params = {"fieldManager": STATUS_MANAGER, "fieldValidation": "Strict"}
        try:
            with _writing(obj, STATUS_MANAGER):
                answer = await self._connection.call("PATCH", path, params, body=patch, form="json-patch+json")
        except Rejected:
            now = await self._get(kind, obj.key)
            if now is None or now["metadata"]["uid"] != observed["metadata"]["uid"]:
                raise NotFound(f"{obj.KIND} {obj.key} has just been deleted") from None
            raise
        return _understood(kind, answer)

    async def _one_page(self, kind: type[Object], path: str, params: Mapping[str, str]) -> tuple[Any, str, str]:
        """Give a page's items, the token of the next page or nothing, and the resource version of all."""
        with _reading(kind):
            answer = await self._connection.call("GET", path, params)
            metadata = answer["metadata"]
            return answer.get("items") or (), metadata.get("continue") or "", metadata["resourceVersion"]

    async def _get(self, kind: type[Object], key: Key) -> Any:
        try:
            return await self._connection.call("GET", _path(kind, key.namespace, key.name), {})
        except AnsweredWith as answer:
            if answer.status.code == 404:
                return None
            raise _read_error(kind, answer) from answer


def _path(kind: type[Object], namespace: str | None, name: str | None = None) -> str:
    if (namespace and not kind.NAMESPACED) or (name is not None and kind.NAMESPACED and not namespace):
        raise CallerError(f"{kind.KIND} {name or ''} {'needs a' if kind.NAMESPACED else 'has no'} namespace")
    root = "apis" if "/" in kind.API_VERSION else "api"
    parts = ["", root, kind.API_VERSION]
    if namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(kind.PLURAL)
    if name is not None:
        parts.append(quote(name, safe=""))
    return "/".join(parts)


def _wanted(obj: Object) -> dict[str, Any]:
    plain = encode(obj)
    plain.pop("status", None)
    for name in _SERVER_KEPT:
        plain["metadata"].pop(name, None)
    return plain


def _with_messages(status: Any) -> Any:
    """Give a status whose conditions have messages, empty ones too, which the API requires."""
    if isinstance(status, Mapping):
        full = {name: _with_messages(value) for name, value in status.items()}
        if "conditions" in full:
            full["conditions"] = [{"message": "", **condition} for condition in full["conditions"]]
        return full
    return [_with_messages(item) for item in status] if isinstance(status, list | tuple) else status


def _readable(kind: type[K], raw: Sequence[Mapping[str, Any]]) -> Iterator[K]:
    for item in raw:
        try:
            yield decode(kind, item)
        except msgspec.ValidationError as error:
            metadata = item["metadata"]
            _log.warning("%s %s/%s is left out: %s", kind.KIND, metadata.get("namespace"), metadata["name"], error)


def _understood(kind: type[K], raw: Mapping[str, Any]) -> K:
    try:
        return decode(kind, raw)
    except msgspec.ValidationError as error:
        raise StoreUnavailable(f"{kind.KIND} {raw['metadata']['name']} cannot be read: {error}") from error


@contextmanager
def _reading(kind: type[Object]) -> Iterator[None]:
    try:
        yield
    except AnsweredWith as answer:
        raise _read_error(kind, answer) from answer
    except (msgspec.DecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreUnavailable(f"the API server's answer cannot be read: {error}") from error


def _read_error(kind: type[Object], answer: AnsweredWith) -> Exception:
    """Give the port's error; what is not served or not allowed yet may be later, so reading goes on trying."""
    if answer.status.code == 410:
        return Gone(str(answer))
    return StoreUnavailable(f"{kind.PLURAL} of {kind.API_VERSION} cannot be read: {answer}")


@contextmanager
def _writing(obj: Object, owner: str) -> Iterator[None]:
    try:
        yield
    except AnsweredWith as answer:
        causes = [cause for cause in answer.status.causes if cause.reason == "FieldManagerConflict"]
        if causes:
            holder = _HOLDER.search(causes[0].message)
            raise OwnedByAnother(
                kind=obj.KIND, key=obj.key, owner=holder[1] if holder else causes[0].message, applied_by=owner
            ) from answer
        raise _write_error(answer, f"{obj.KIND} {obj.key}") from answer


def _write_error(answer: AnsweredWith, about: str = "") -> Exception:
    message = f"{about}: {answer}" if about else str(answer)
    match answer.status.code:
        case 404:
            return NotFound(message)
        case 400 | 403 | 405 | 413 | 415 | 422:
            return Rejected(message)
        case _:
            return StoreUnavailable(message)
