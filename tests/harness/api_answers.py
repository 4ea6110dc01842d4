"""A server that answers in an API server's place, for what a real one hardly ever says."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from argosy.edge.kube.connection import settings_of_kubeconfig
from argosy.edge.kube.kubeconfig import Settings


@asynccontextmanager
async def answering_api(
    folder: Path, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> AsyncIterator[Settings]:
    """Answer every request so, until the block ends; gives the settings that lead there."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address, port = runner.addresses[0][:2]
        yield settings_of_kubeconfig(kubeconfig_of(folder, f"http://{address}:{port}"))
    finally:
        await runner.cleanup()


def kubeconfig_of(folder: Path, url: str) -> Path:
    """Write a kubeconfig whose current context leads to a server."""
    config = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "contexts": [{"name": "c", "context": {"cluster": "c"}}],
    }
    path = folder / "config"
    path.write_text(json.dumps(config))
    return path
