"""Serves an object store on a unix socket, to the processes of one user.

Rules of this file:

- The socket is mode 0600 before it listens.
- Nothing grows with a slow reader: a watch writes one event and waits until the peer has taken it; meanwhile the
  store's own history may pass it by, and then it is told `Gone`. One that takes nothing for `STALLED_S` is cut off.
- Every error of the port arrives at the other side as the same error; bodies are bounded.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from argosy.api.objects import Key, Object, decode, encode
from argosy.base.errors import ArgosyError, UserError
from argosy.edge.kube import wire
from argosy.edge.kube.port import Event, ObjectStore

STALLED_S = 30.0


@contextlib.asynccontextmanager
async def serve_store(
    store: ObjectStore, path: Path, *, heartbeat_s: float = wire.HEARTBEAT_S, stalled_s: float = STALLED_S
) -> AsyncIterator[None]:
    """Serve `store` at the socket `path` while the context lasts. Raises `UserError` when the path cannot be used."""
    listener = _bind(path)
    service = _Service(store, heartbeat_s, stalled_s)
    app = web.Application(middlewares=[_answer_errors], client_max_size=wire.MAX_OBJECT_BYTES)
    app.add_routes(
        [
            web.get(wire.OBJECTS, service.list),
            web.get(wire.OBJECT, service.get),
            web.get(wire.WATCH, service.watch),
            web.put(wire.OBJECTS, service.apply),
            web.put(wire.RETAKEN, service.retake),
            web.put(wire.REPLACED, service.replace),
            web.put(wire.STATUS, service.write_status),
            web.delete(wire.OBJECTS, service.delete),
        ]
    )
    app.on_shutdown.append(service.end_watches)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    try:
        await runner.setup()
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()
        _unbind(listener, path)


def _unbind(listener: socket.socket, path: Path) -> None:
    listener.close()
    path.unlink(missing_ok=True)


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(str(path))
        path.chmod(0o600)
    except OSError as error:
        listener.close()
        raise UserError(
            f"the object store's socket {path} cannot be made: {error}; choose another directory"
        ) from error
    except UserError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _remove_stale(path: Path) -> None:
    """Remove the socket of a process that is gone: nobody accepts there."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        else:
            raise UserError(f"the object store's socket {path} is served by another process; end that one first")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _json({"error": "Unreadable", "message": error.text or error.reason}, status=error.status)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError) as error:
        return _json(wire.error_body(wire.Unreadable(str(error))), status=400)
    except ArgosyError as error:
        status = next((code for kind, code in wire.STATUSES.items() if isinstance(error, kind)), 500)
        return _json(wire.error_body(error), status=status)


class _Service:
    def __init__(self, store: ObjectStore, heartbeat_s: float, stalled_s: float) -> None:
        self._store = store
        self._heartbeat_s = heartbeat_s
        self._stalled_s = stalled_s
        self._watches: set[asyncio.Task[Any]] = set()

    async def list(self, request: web.Request) -> web.Response:
        listing = await self._store.list(wire.kind_of(request.query), namespace=request.query.get("namespace"))
        items = [encode(item) for item in listing.items]
        return _json({"items": items, "resourceVersion": listing.resource_version})

    async def get(self, request: web.Request) -> web.Response:
        obj = await self._store.get(wire.kind_of(request.query), _key(request))
        return _json(None if obj is None else encode(obj))

    async def apply(self, request: web.Request) -> web.Response:
        return _json(encode(await self._store.apply(await _read(request), owner=request.query["owner"])))

    async def retake(self, request: web.Request) -> web.Response:
        taken = await self._store.retake(await _read(request), owner=request.query["owner"])
        return _json({"object": encode(taken.object), "held": taken.held})

    async def replace(self, request: web.Request) -> web.Response:
        return _json(encode(await self._store.replace(await _read(request), owner=request.query["owner"])))

    async def write_status(self, request: web.Request) -> web.Response:
        return _json(encode(await self._store.write_status(await _read(request))))

    async def delete(self, request: web.Request) -> web.Response:
        query = request.query
        await self._store.delete(wire.kind_of(query), _key(request), uid=query.get("uid"))
        return _json({})

    async def watch(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        events = self._store.watch(wire.kind_of(query), since=query["since"], namespace=query.get("namespace"))
        response = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (a handler runs in a task; said for the type checker)
        self._watches.add(task)
        try:
            await response.prepare(request)
            async with contextlib.aclosing(self._lines(events)) as lines:
                async for line in lines:
                    async with asyncio.timeout(self._stalled_s):
                        await response.write(line)
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._watches.discard(task)
        return response

    async def _lines(self, events: AsyncIterator[Event[Any]]) -> AsyncGenerator[bytes, None]:
        """Give each event as a line, a heartbeat at once and whenever none came for a while, and the error at last."""
        yield _line({"type": "HEARTBEAT"})
        pending: asyncio.Task[Event[Any]] | None = None
        try:
            while True:
                pending = pending or asyncio.ensure_future(_next(events))
                await asyncio.wait({pending}, timeout=self._heartbeat_s)
                if not pending.done():
                    yield _line({"type": "HEARTBEAT"})
                    continue
                event, pending = pending.result(), None
                yield _line({"type": event.change.value, "object": encode(event.object)})
        except StopAsyncIteration:
            return
        except ArgosyError as error:
            yield _line({"type": "ERROR", "error": wire.error_body(error)})
        finally:
            if pending is not None and not pending.cancel():
                pending.exception()  # it ended while the peer left; nobody is there to be told

    async def end_watches(self, _app: web.Application) -> None:
        for task in self._watches:
            task.cancel()


async def _next(events: AsyncIterator[Event[Any]]) -> Event[Any]:
    return await anext(events)


async def _read(request: web.Request) -> Object:
    raw = msgspec.json.decode(await request.read(), type=dict[str, Any])
    return decode(wire.kind_of(raw), raw)


def _key(request: web.Request) -> Key:
    return Key(request.query.get("namespace", ""), request.query["name"])


def _line(value: Any) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def _json(value: Any, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
