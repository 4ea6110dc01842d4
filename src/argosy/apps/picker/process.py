"""The picker as a process of its own: event loop, signals, the real store and transport."""

import asyncio
import random
import signal
from contextlib import AbstractAsyncContextManager

import uvloop

from argosy.apps.picker.serve import Settings, serve_picker
from argosy.edge.kube.port import ObjectStore
from argosy.edge.rpc.ext_proc_grpc import serve_ext_proc


def run_picker(opening: AbstractAsyncContextManager[ObjectStore], settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises `UserError` for an address that cannot be used."""
    uvloop.run(_serve(opening, settings))


async def _serve(opening: AbstractAsyncContextManager[ObjectStore], settings: Settings) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    rng = random.Random()  # noqa: S311 - weights are no secrets
    async with opening as store:
        await serve_picker(settings, store, serve_ext_proc, rng=rng, stopping=stopping)
