"""The picker as a process of its own: event loop, signals, the real store and transport."""

import asyncio
import random
import signal

import uvloop

from argosy.apps.picker.serve import Settings, serve_picker
from argosy.edge.kube.remote import RemoteStore
from argosy.edge.rpc.ext_proc_grpc import serve_ext_proc


def run_picker(store_address: str, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises `UserError` for an address that cannot be used."""
    uvloop.run(_serve(store_address, settings))


async def _serve(store_address: str, settings: Settings) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    rng = random.Random()  # noqa: S311 - weights are no secrets
    async with RemoteStore(store_address) as store:
        await serve_picker(settings, store, serve_ext_proc, rng=rng, stopping=stopping)
