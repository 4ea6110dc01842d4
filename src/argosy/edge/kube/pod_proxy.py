"""What an API server passes on for those who stand outside the pods' network: pages, requests and logs of pods.

Source: kubernetes.io, API reference, `pods/proxy`, `services/proxy` and `pods/log`.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from argosy.api.kubernetes import Pod
from argosy.api.objects import Key
from argosy.base.errors import PeerError
from argosy.edge.http.model_api import ApiAnswer
from argosy.edge.http.pages import MAX_PAGE_BYTES, NoPage
from argosy.edge.kube.connection import AnsweredWith, Connection

SILENT_S: Final = 10.0
MAX_LINE_BYTES: Final = 1 << 16


class ProxiedPages:
    """Asks pods for pages through the API server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def page(self, pod: Pod, port: int, path: str) -> bytes:
        """Give the page. Raises `NoPage`, and `PeerError`, also when this user may not ask."""
        bare, _, query = path.partition("?")
        where = f"{_pod_path(pod.key)}:{port}/proxy{bare}"
        asked = self._connection.pieces("GET", where, dict(parse_qsl(query)), silent_s=SILENT_S)
        page = bytearray()
        try:
            async with aclosing(asked) as pieces:
                async for piece in pieces:
                    page += piece
                    if len(page) > MAX_PAGE_BYTES:
                        raise PeerError(f"{pod.key}: the page is longer than {MAX_PAGE_BYTES} bytes")
        except AnsweredWith as answer:
            if answer.status.code == 404 and not answer.status.reason:  # an API server gives its own a reason
                raise NoPage(f"{pod.key} has no {bare}") from answer
            raise
        return bytes(page)


class ProxiedApi:
    """Asks the model API of a Gateway through the API server, which passes requests on to a Service."""

    def __init__(self, connection: Connection, service: Key, port: int) -> None:
        self.way = f"Service {service}, port {port}, through the API server"
        self._connection = connection
        self._path = f"/api/v1/namespaces/{service.namespace}/services/{service.name}:{port}/proxy/v1"

    async def pieces(self, method: str, path: str, body: bytes | None = None) -> AsyncGenerator[bytes, None]:
        """Give the bytes of the answer as they come. Raises `ApiAnswer`, and `PeerError`."""
        try:
            async with aclosing(self._connection.pieces(method, f"{self._path}{path}", {}, body=body)) as pieces:
                async for piece in pieces:
                    yield piece
        except AnsweredWith as answer:
            if answer.status.reason:  # an API server gives its own errors a reason; what else comes is passed on
                raise
            raise ApiAnswer(answer.status.code, answer.content.decode(errors="replace")) from answer


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What of a container's log is wanted: the last lines (None: all), those to come, or the run's before this one."""

    tail: int | None
    follow: bool = False
    previous: bool = False


async def log_lines(
    connection: Connection, pod: Key, container: str, options: LogOptions
) -> AsyncGenerator[bytes, None]:
    """Give the lines of a container's log, without their ends. Raises `AnsweredWith` where there is none yet."""
    params = {"container": container} | ({} if options.tail is None else {"tailLines": str(options.tail)})
    params |= {"follow": "true"} if options.follow else {}
    params |= {"previous": "true"} if options.previous else {}
    silent_s = None if options.follow else SILENT_S
    rest = b""
    async with aclosing(connection.pieces("GET", f"{_pod_path(pod)}/log", params, silent_s=silent_s)) as pieces:
        async for piece in pieces:
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line
            if len(rest) > MAX_LINE_BYTES:
                yield rest
                rest = b""
    if rest:
        yield rest


def _pod_path(pod: Key) -> str:
    return f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
