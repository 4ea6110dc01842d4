"""The way to an API server: where it is, who we are, one request at a time.

Rules of this file:

- Settings come as arguments: from a kubeconfig file, or a pod's ServiceAccount folder. The environment is not read,
  but for exec plugins, which are given it.
- lightkube verifies the server, and knows tokens, token files that rotate and certificates. Its resource layer is not
  used: its watch cannot ask for bookmarks and its delete has no preconditions.
- An answer other than 2xx is an `AnsweredWith`; no answer at all is `StoreUnavailable`.
"""

import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import msgspec
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import KubeConfig
from lightkube.config.models import Cluster, User
from lightkube.core.exceptions import ConfigError

from argosy.base.errors import CallerError, PeerError, UserError
from argosy.edge.kube.exec_plugin import PluginAuth
from argosy.edge.kube.kubeconfig import Settings, read_kubeconfigs
from argosy.edge.kube.port import NotLeading, StoreUnavailable

CALL_TIMEOUT_S = 15.0
MAX_LINE_BYTES = 8 * 1024 * 1024
"""The longest line of a watch. etcd holds no object of more than 1.5 MiB, which JSON may write longer."""
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Cause(msgspec.Struct, frozen=True):
    """One part of why; `reason` is the API's word, such as FieldManagerConflict."""

    reason: str = ""
    message: str = ""
    field: str = ""


class Details(msgspec.Struct, frozen=True):
    """The parts of why, and the object that it is about."""

    causes: tuple[Cause, ...] = ()
    name: str = ""


class Status(msgspec.Struct, frozen=True):
    """The API's `Status`: what an error's body and a watch's last event are."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: Details | None = None

    @property
    def causes(self) -> tuple[Cause, ...]:
        """The parts of why, if any were given."""
        return self.details.causes if self.details else ()


class AnsweredWith(PeerError):  # noqa: N818 (named for the state)
    """The server answered, and not with what was asked for. `content` is its answer as it came."""

    def __init__(self, status: Status, content: bytes = b"") -> None:
        super().__init__(status.message or status.reason or f"HTTP status {status.code}")
        self.status = status
        self.content = content


def settings_of_kubeconfig(path: Path, *, context: str | None = None) -> Settings:
    """Read a kubeconfig. Raises `UserError` with the file and what is wrong in it."""
    found = read_kubeconfigs([path])
    if found is None:
        raise UserError(f"kubeconfig {path} is not there; name another")
    return found.settings(context)


def settings_in_cluster(*, host: str, port: str, account: Path = SERVICE_ACCOUNT) -> Settings:
    """Give the settings of a pod, whose ServiceAccount's files are in `account`. Raises `UserError`."""
    token, certificate = account / "token", account / "ca.crt"
    if not token.is_file() or not certificate.is_file():
        raise UserError(f"{account} has no token and ca.crt; the pod needs automountServiceAccountToken")
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    namespace = account / "namespace"
    config = KubeConfig.from_one(
        cluster=Cluster(server=server, certificate_auth=str(certificate)),
        user=User(token_file=str(token)),
        namespace=namespace.read_text().strip() if namespace.is_file() else None,
    ).get()
    if config is None:
        raise CallerError("a configuration of one cluster has a current context")
    return Settings(config)


class Connection:
    """An open connection; use it as a context. Raises `UserError` for certificates that cannot be read."""

    def __init__(self, settings: Settings) -> None:
        self._client = _client(settings)
        self._extensions = {} if settings.server_name is None else {"sni_hostname": settings.server_name}

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def call(
        self,
        method: str,
        path: str,
        params: Mapping[str, str],
        *,
        body: Any = None,
        form: str = "json",
        may_send: Callable[[], bool] | None = None,
    ) -> Any:
        """Do one request, and give the answer's plain values.

        `form` is what the body is, after `application/`. `may_send` is asked when the connection is ready, and again
        before the body is sent, without which the server does nothing; no is a `NotLeading`.
        """
        headers = {"accept": "application/json"} | ({} if body is None else {"content-type": f"application/{form}"})
        content = None if body is None else msgspec.json.encode(body)
        guard = {} if may_send is None else {"trace": _guard(may_send)}
        with _connected():
            answer = await self._client.request(
                method, path, params=dict(params), content=content, headers=headers, extensions=self._extensions | guard
            )
        if not answer.is_success:
            raise AnsweredWith(_status(answer.status_code, answer.content), answer.content)
        return _decoded(answer.content)

    async def content(self, path: str, params: Mapping[str, str]) -> bytes:
        """Read what is at a path, as it is sent."""
        with _connected():
            answer = await self._client.get(
                path, params=dict(params), headers={"accept": "application/json"}, extensions=self._extensions
            )
        if not answer.is_success:
            raise AnsweredWith(_status(answer.status_code, answer.content), answer.content)
        return answer.content

    async def lines(self, path: str, params: Mapping[str, str], *, silent_s: float) -> AsyncGenerator[bytes, None]:
        """Give each line of an answer, until it ends or is silent for `silent_s`."""
        rest = b""
        async with contextlib.aclosing(self.pieces("GET", path, params, silent_s=silent_s)) as pieces:
            async for piece in pieces:
                # Not the client's own lines: those also end at U+0085, which an annotation may contain.
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    yield line
                if len(rest) > MAX_LINE_BYTES:
                    raise StoreUnavailable(f"the API server sends a line of more than {MAX_LINE_BYTES} bytes")

    async def pieces(
        self,
        method: str,
        path: str,
        params: Mapping[str, str],
        *,
        silent_s: float | None = None,
        body: bytes | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Give the bytes of an answer as they come, until it ends or is silent for `silent_s` (None: for ever)."""
        timeout = httpx2.Timeout(CALL_TIMEOUT_S, read=silent_s)
        headers = {} if body is None else {"content-type": "application/json"}
        with _connected():
            async with self._client.stream(
                method,
                path,
                params=dict(params),
                content=body,
                headers=headers,
                timeout=timeout,
                extensions=self._extensions,
            ) as answer:
                if not answer.is_success:
                    content = await answer.aread()
                    raise AnsweredWith(_status(answer.status_code, content), content)
                async for piece in answer.aiter_bytes():
                    yield piece


def _client(settings: Settings) -> httpx2.AsyncClient:
    params = ConnectionParams(timeout=httpx2.Timeout(CALL_TIMEOUT_S), trust_env=False, proxy=settings.proxy)
    server = settings.config.cluster.server
    try:
        arguments = params.httpx_params(settings.config)
    except ConfigError as error:
        raise UserError(f"the credentials for {server}: {error}; use a token, a certificate or exec") from error
    except OSError as error:
        raise UserError(f"the certificates for {server}: {error}") from error
    if settings.plugin is not None:
        arguments["auth"] = PluginAuth(settings.plugin, arguments["verify"], os.environ)
    return httpx2.AsyncClient(**arguments)


def _guard(may_send: Callable[[], bool]) -> Callable[[str, Mapping[str, Any]], Awaitable[None]]:
    """Give what the client calls at each of its steps: any may have taken long, waiting or stopped."""

    async def at(step: str, _details: Mapping[str, Any]) -> None:
        if step.endswith((".send_request_headers.started", ".send_request_body.started")) and not may_send():
            raise NotLeading("nothing was written: this process does not lead, or may have lost its lease")

    return at


@contextlib.contextmanager
def _connected() -> Iterator[None]:
    """Say `StoreUnavailable` for every way in which a connection fails."""
    try:
        yield
    except (httpx2.HTTPError, httpx2.StreamError, OSError, ConfigError) as error:
        raise StoreUnavailable(f"the API server does not answer: {error or type(error).__name__}") from error


def _decoded(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise StoreUnavailable(f"the API server's answer cannot be read: {error}") from error


def _status(code: int, content: bytes) -> Status:
    """Read an error's body, which need not be the API server's: something between may have answered."""
    try:
        status = msgspec.json.decode(content, type=Status)
    except msgspec.DecodeError:
        return Status(code=code, message=content[:200].decode(errors="replace").strip())
    return status if status.code else msgspec.structs.replace(status, code=code)
