"""The object store behind a unix socket, as the processes of a laptop see it.

Use it as a context: `async with RemoteStore("unix:///run/store.sock") as store`. It connects anew for every call that
finds no open connection; a store that is away is `StoreUnavailable`, and calling again is all there is to do.
"""

import contextlib
import io
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, NoReturn, Self

import aiohttp
import msgspec

from argosy.api.objects import K, Key, Object, decode, encode
from argosy.base.errors import CallerError, UserError
from argosy.edge.kube import wire
from argosy.edge.kube.port import (
    Change,
    Changed,
    Event,
    Gone,
    Held,
    Listing,
    NotFound,
    OwnedByAnother,
    Retaken,
    StoreUnavailable,
)

CALL_TIMEOUT = aiohttp.ClientTimeout(total=15)
WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=3 * wire.HEARTBEAT_S)
_SCHEME = "unix://"


class RemoteStore:
    """An `ObjectStore` at `unix:///PATH`. Raises `UserError` for an address of another form."""

    def __init__(self, address: str) -> None:
        path = address.removeprefix(_SCHEME)
        if path == address or not path.startswith("/"):
            raise UserError(f"store address {address!r}: it must be unix:///PATH-OF-THE-SOCKET")
        self.address = address
        self._path = path
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.UnixConnector(self._path)
        self._session = aiohttp.ClientSession("http://store", connector=connector, timeout=CALL_TIMEOUT)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def list(self, kind: type[K], *, namespace: str | None = None) -> Listing[K]:
        """Give all objects of a kind."""
        answer = await self._call("GET", wire.OBJECTS, _query(kind, namespace=namespace))
        with _understood():
            items = tuple(decode(kind, item) for item in answer["items"])
            return Listing(items, answer["resourceVersion"])

    async def get(self, kind: type[K], key: Key) -> K | None:
        """Give one object, or None when it is not there."""
        answer = await self._call("GET", wire.OBJECT, _query(kind, namespace=key.namespace or None, name=key.name))
        with _understood():
            return None if answer is None else decode(kind, answer)

    async def watch(self, kind: type[K], *, since: str, namespace: str | None = None) -> AsyncIterator[Event[K]]:
        """Give every change after `since`, in order. Raises `Gone`, and `StoreUnavailable` when the store is away."""
        query = _query(kind, namespace=namespace, since=since)
        with _connected():
            async with self._open.get(
                wire.WATCH, params=query, timeout=WATCH_TIMEOUT, read_bufsize=2 * wire.MAX_OBJECT_BYTES
            ) as response:
                if response.status != 200:
                    _raise(await response.read())
                async for line in response.content:
                    event = _event(kind, line)
                    if event is not None:
                        yield event

    async def apply(self, obj: K, *, owner: str) -> K:
        """Make the object so, status aside. Raises `OwnedByAnother`."""
        return await self._put(wire.OBJECTS, obj, owner=owner)

    async def retake(self, obj: K, *, owner: str) -> Retaken[K]:
        """Make the object so, status aside, but for what others hold."""
        answer = await self._call("PUT", wire.RETAKEN, {"owner": owner}, about=obj)
        with _understood():
            held = msgspec.convert(answer["held"], tuple[Held, ...])
            return Retaken(decode(type(obj), answer["object"]), held)

    async def replace(self, obj: K, *, owner: str) -> K:
        """Make the object so, status aside, if it is still at the resource version of `obj`. Raises `Changed`."""
        return await self._put(wire.REPLACED, obj, owner=owner)

    async def delete(self, kind: type[Object], key: Key, *, uid: str | None = None) -> None:
        """Remove the object; with `uid`, only that very one."""
        query = _query(kind, namespace=key.namespace or None, name=key.name, uid=uid)
        await self._call("DELETE", wire.OBJECTS, query)

    async def write_status(self, obj: K) -> K:
        """Replace the status. Raises `NotFound`."""
        return await self._put(wire.STATUS, obj)

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise CallerError("the store is used outside its context")
        return self._session

    async def _put(self, path: str, obj: K, *, owner: str = "") -> K:
        answer = await self._call("PUT", path, {"owner": owner}, about=obj)
        with _understood():
            return decode(type(obj), answer)

    async def _call(self, method: str, path: str, query: Mapping[str, str], *, about: Object | None = None) -> Any:
        body = None if about is None else io.BytesIO(msgspec.json.encode(encode(about)))
        with _connected():
            async with self._open.request(method, path, params=query, data=body) as response:
                content = await response.read()
        if response.status != 200:
            _raise(content, about=about, applied_by=query.get("owner", ""))
        with _understood():
            return msgspec.json.decode(content)


def _query(kind: type[Object], **more: str | None) -> dict[str, str]:
    names = {"apiVersion": kind.API_VERSION, "kind": kind.KIND}
    return names | {name: value for name, value in more.items() if value is not None}


@contextlib.contextmanager
def _connected() -> Any:
    """Say `StoreUnavailable` for every way in which a connection fails."""
    try:
        yield
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise StoreUnavailable(f"the object store does not answer: {error or type(error).__name__}") from error


@contextlib.contextmanager
def _understood() -> Any:
    """Say `StoreUnavailable` when what came is not what this version of the store sends."""
    try:
        yield
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise StoreUnavailable(f"the object store's answer cannot be read: {error}") from error


def _event(kind: type[K], line: bytes) -> Event[K] | None:
    with _understood():
        message = msgspec.json.decode(line)
        if message["type"] == "HEARTBEAT":
            return None
        if message["type"] == "ERROR":
            _raise(msgspec.json.encode(message["error"]))
        return Event(Change(message["type"]), decode(kind, message["object"]))
    return None


def _raise(content: bytes, *, about: Object | None = None, applied_by: str = "") -> NoReturn:
    with _understood():
        error = msgspec.json.decode(content)
        name, message = error["error"], error["message"]
    match name:
        case "Gone":
            raise Gone(message)
        case "NotFound":
            raise NotFound(message)
        case "Changed":
            raise Changed(message)
        case "OwnedByAnother" if about is not None:
            raise OwnedByAnother(kind=about.KIND, key=about.key, owner=error["owner"], applied_by=applied_by)
        case "Unreadable" | "CallerError":
            raise CallerError(message)
        case _:
            raise StoreUnavailable(message)
