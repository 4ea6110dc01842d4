"""What every process of ours shows beside its work: /metrics, /healthz and /readyz, and JSON of its own."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

from aiohttp import web

from argosy.base.errors import UserError

EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"
Document = Callable[[str], bytes | None]
"""Gives JSON for what follows its path, empty or a name; None where there is nothing of that name."""


@contextlib.asynccontextmanager
async def serve_probes(
    address: str,
    *,
    metrics: Callable[[], bytes],
    ready: Callable[[], bool],
    documents: Mapping[str, Document] = MappingProxyType({}),
) -> AsyncIterator[int]:
    """Serve at `ip:port` (port 0: any) while the context lasts; gives the port. Raises `UserError` if it is taken.

    `documents` are by path, and are asked for it and for names below it.
    """

    async def show_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"content-type": EXPOSITION})

    async def show_health(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def show_readiness(_request: web.Request) -> web.Response:
        return web.Response(text="ready\n") if ready() else web.Response(status=503, text="not ready\n")

    def shown(document: Document) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def show(request: web.Request) -> web.Response:
            content = document(request.match_info.get("name", ""))
            if content is None:
                return web.Response(status=404, text="nothing of that name\n")
            return web.Response(body=content, content_type="application/json")

        return show

    app = web.Application()
    for path, document in documents.items():
        app.add_routes([web.get(path, shown(document)), web.get(f"{path}/{{name:.+}}", shown(document))])
    app.add_routes(
        [web.get("/metrics", show_metrics), web.get("/healthz", show_health), web.get("/readyz", show_readiness)]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        host, _, port = address.rpartition(":")
        site = web.TCPSite(runner, host.strip("[]"), int(port))
        try:
            await site.start()
        except OSError as error:
            raise UserError(f"cannot serve metrics at {address}: {error.strerror}") from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
