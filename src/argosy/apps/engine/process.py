"""The life of one engine process: open the socket, load, serve, drain, end.

SIGTERM and SIGINT are blocked in every thread and taken by one in `sigwait`: llama.cpp replaces signal handlers while
it loads, and a handler that is never called cannot be lost to it. The first signal drains, a second one ends at once.
"""

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import uvloop
from aiohttp import web

from argosy.apps.engine.model import Model
from argosy.apps.engine.moving import Moving
from argosy.apps.engine.server import EngineServer
from argosy.apps.engine.slots import Slots
from argosy.base.errors import UserError
from argosy.edge.transfer.folder import PrivateFolder, memory_folder
from argosy.edge.weights.gguf import Gguf
from argosy.engines.llama_cpp import Settings, kv_room_bytes

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_BACKLOG = 1024
_SEND_BYTES = 64 * 1024
"""What the kernel keeps for one client; left to itself it takes megabytes for one that does not read."""
_CLOSE_S = 3
"""How long llama.cpp may take to end, after the drain: less than is left of `GRACE_S`."""
_log = logging.getLogger(__name__)


def run_engine(settings: Settings, weights: Gguf, adapters: Sequence[Gguf] = (), *, write_timeout_s: float) -> None:
    """Serve until a signal ends it. Raises UserError for an address or weights that cannot be used."""
    if weights.context_tokens is not None and weights.context_tokens < settings.context_tokens:
        _log.warning("the model was trained for %d tokens; serving that many", weights.context_tokens)
        settings = msgspec.structs.replace(settings, context_tokens=weights.context_tokens)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, weights, adapters, write_timeout_s))


async def _serve(settings: Settings, weights: Gguf, adapters: Sequence[Gguf], write_timeout_s: float) -> None:
    begun_s = time.monotonic()
    drain, give_up = asyncio.Event(), asyncio.Event()
    signals = (asyncio.get_running_loop(), (drain, give_up))
    threading.Thread(target=_wait_for_signals, args=signals, daemon=True).start()
    server = EngineServer(settings, created_s=int(time.time()), write_timeout_s=write_timeout_s)
    runner = web.AppRunner(server.application(), access_log=None, handler_cancellation=True, shutdown_timeout=5)
    await runner.setup()
    slots, moving, folder = None, None, None
    try:
        await _listen(runner, settings)
        folder = _states_folder(settings, weights) if settings.kv_port else None
        paths = [each.path for each in (weights, *adapters)]
        model = await asyncio.to_thread(Model.load, paths, settings, drain.is_set, folder.path if folder else None)
        if model is not None:
            moving = Moving(model, folder, settings, weights, server.metrics) if folder else None
            slots = Slots(model, settings.parallel, moving)
            server.open_to(slots, model.start_s, moving)
            _log.info("serving %s after %.1f s", settings.model, time.monotonic() - begun_s)
            await drain.wait()
            states = moving.held.states if moving else 0
            _log.info("draining %d running, %d waiting requests, %d states", slots.running, slots.waiting, states)
            await server.drain(settings.drain_s, give_up)
    finally:
        await runner.cleanup()
        if moving is not None:
            moving.close()
        if folder is not None:
            folder.close()
        if slots is not None and not slots.close(_CLOSE_S):
            _log.error("llama.cpp did not end within %d s; ending without it", _CLOSE_S)
            os._exit(1)  # its threads would keep a proper end waiting


def _states_folder(settings: Settings, weights: Gguf) -> PrivateFolder:
    """Make the folder where states of slots lie while they move."""
    if settings.kv_folder:
        return PrivateFolder(Path(settings.kv_folder))
    return PrivateFolder(memory_folder(kv_room_bytes(weights.kv_bytes_per_token, settings)))


async def _listen(runner: web.AppRunner, settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise UserError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); choose another --host or --port",
        ) from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
    # aiohttp listens again, with a backlog of its own choice unless it is told.
    await web.SockSite(runner, listener, backlog=_BACKLOG).start()


def _wait_for_signals(loop: asyncio.AbstractEventLoop, events: tuple[asyncio.Event, ...]) -> None:
    for event in events:
        signal.sigwait(_SIGNALS)
        loop.call_soon_threadsafe(event.set)
