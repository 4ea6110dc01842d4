"""The node's endpoint, as far as `kubectl logs` needs one: https at the node's address, port 10250.

Rules of this file:

- A log is what the container's processes wrote, as they wrote it: lines carry no time, so `--since` and `--timestamps`
  change nothing.
- One run of a container is told from the next by where in the file it began.
- Whoever follows a log is told of the end when the container will not be started again; the file is held open, so its
  last lines come though the pod has been forgotten meanwhile.
"""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

from aiohttp import web

from argosy.edge.processes.container import ContainerProcess
from harness.node.pod import NodePod
from harness.node.registration import PORT
from harness.node.setting import NodeSetting

LOOK_S = 0.1
CHUNK = 65536
Find = Callable[[str, str], NodePod | None]


@contextlib.asynccontextmanager
async def serve_logs(node: NodeSetting, find: Find) -> AsyncIterator[None]:
    """Serve the logs of the pods that `find` gives by namespace and name."""

    async def answer(request: web.Request) -> web.StreamResponse:
        where = request.match_info
        pod = find(where["namespace"], where["pod"])
        container = pod.process.container(where["container"]) if pod and pod.process else None
        if pod is None or pod.process is None or container is None:
            return web.Response(status=404, text=f"container {where['container']} has not begun")
        return await _send(request, pod.process.log_of(where["container"]).path, container)

    app = web.Application()
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(node.certificate, node.key)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, node.address, PORT, ssl_context=context, shutdown_timeout=0.1).start()
        yield
    finally:
        await runner.cleanup()


async def _send(request: web.Request, path: Path, container: ContainerProcess) -> web.StreamResponse:
    asked = request.query
    before, last = container.log_starts
    previous = asked.get("previous") == "true"
    if previous and not container.status.restart_count:
        return web.Response(status=400, text=f"previous terminated container {container.container.name!r} not found")
    start, end = (before, last) if previous else (last, None)
    response = web.StreamResponse(headers={"content-type": "text/plain"})
    await response.prepare(request)
    limit = int(asked.get("limitBytes", 1 << 40))
    at = start_of_tail(path, start, end, int(asked["tailLines"])) if "tailLines" in asked else start
    with contextlib.ExitStack() as held:
        file: BinaryIO | None = None
        while limit > 0:
            finished = container.finished or asked.get("follow") != "true" or previous
            file = file or _opened(path, held)
            if file is not None:
                at, limit = await _send_from(response, file, at, end, limit)
            if finished:
                break
            await asyncio.sleep(LOOK_S)
    return response


def _opened(path: Path, held: contextlib.ExitStack) -> BinaryIO | None:
    return held.enter_context(path.open("rb")) if path.exists() else None


async def _send_from(
    response: web.StreamResponse, file: BinaryIO, at: int, end: int | None, limit: int
) -> tuple[int, int]:
    """Send what is there; give where it ends, and how much may still be sent."""
    size = file.seek(0, os.SEEK_END)
    file.seek(at if at <= size else 0)  # a log that grew too large begins anew
    while limit > 0:
        most = CHUNK if end is None else min(CHUNK, end - file.tell())
        piece = file.read(min(most, limit)) if most > 0 else b""
        if not piece:
            break
        await response.write(piece)
        limit -= len(piece)
    return file.tell(), limit


def start_of_tail(path: Path, start: int, end: int | None, lines: int) -> int:
    """Give where the last lines of a part of a file begin."""
    if lines < 0 or not path.exists():
        return start
    content = path.read_bytes()[start:end]
    at = len(content)
    for _ in range(lines + (1 if content.endswith(b"\n") else 0)):
        at = content.rfind(b"\n", 0, at)
        if at < 0:
            return start
    return start + at + 1 if lines else start + len(content)
