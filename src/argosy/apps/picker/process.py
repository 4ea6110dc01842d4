"""The picker as a process of its own: event loop, signals, the real store and transport."""

import asyncio
import functools
import random
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import uvloop

from argosy.apps.picker.serve import Settings, serve_picker
from argosy.edge.kube.port import ObjectStore
from argosy.edge.processes.allocator import keep_freed_memory
from argosy.edge.rpc.ext_proc import Transport
from argosy.edge.rpc.ext_proc_http2 import serve_ext_proc
from argosy.edge.tls.files import server_contexts, server_files


def run_picker(opening: AbstractAsyncContextManager[ObjectStore], settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises `UserError` for an address or a certificate that cannot be used."""
    keep_freed_memory()
    uvloop.run(_serve(opening, settings))


async def _serve(opening: AbstractAsyncContextManager[ObjectStore], settings: Settings) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    rng = random.Random()  # noqa: S311 - weights are no secrets
    transport = _transport(settings)
    async with opening as store:
        await serve_picker(settings, store, transport, rng=rng, stopping=stopping)


def _transport(settings: Settings) -> Transport:
    folder = None if settings.tls_folder is None else Path(settings.tls_folder)
    if settings.transport == "http2":
        return functools.partial(serve_ext_proc, files=None if folder is None else server_contexts(folder))
    # Whoever does not serve by it does not load it.
    from argosy.edge.rpc import ext_proc_grpc  # noqa: PLC0415

    credentials = None if folder is None else ext_proc_grpc.server_credentials(server_files(folder))
    return functools.partial(ext_proc_grpc.serve_ext_proc, credentials=credentials)
