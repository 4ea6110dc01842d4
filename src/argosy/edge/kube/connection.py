"""The way to an API server: where it is, who we are, one request at a time.

Rules of this file:

- Settings come as arguments: from a kubeconfig file, or a pod's ServiceAccount folder. The environment is not read.
- lightkube reads kubeconfigs, verifies the server, and knows tokens, token files that rotate, certificates and exec
  plugins. Its resource layer is not used: its watch cannot ask for bookmarks and its delete has no preconditions.
- An answer other than 2xx is an `AnsweredWith`; no answer at all is `StoreUnavailable`.
"""

import contextlib
from collections.abc import AsyncGenerator, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import msgspec
import yaml
from lightkube.config.client_adapter import AsyncClient, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import Cluster, User
from lightkube.core.exceptions import ConfigError

from argosy.base.errors import CallerError, PeerError, UserError
from argosy.edge.kube.port import StoreUnavailable

CALL_TIMEOUT_S = 15.0
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

# lightkube takes a kubeconfig's shape for granted.
_UNREADABLE = (OSError, AttributeError, KeyError, TypeError, yaml.YAMLError, msgspec.ValidationError)


class Settings(msgspec.Struct, frozen=True):
    """Where an API server is and how to be let in, as lightkube has it."""

    config: SingleConfig


class Cause(msgspec.Struct, frozen=True):
    """One part of why; `reason` is the API's word, such as FieldManagerConflict."""

    reason: str = ""
    message: str = ""
    field: str = ""


class Details(msgspec.Struct, frozen=True):
    """The parts of why."""

    causes: tuple[Cause, ...] = ()


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
    """The server answered, and not with what was asked for."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message or status.reason or f"HTTP status {status.code}")
        self.status = status


def settings_of_kubeconfig(path: Path, *, context: str | None = None) -> Settings:
    """Read a kubeconfig. Raises `UserError` with the file and what is wrong in it."""
    try:
        config = KubeConfig.from_file(path).get(context)
    except (*_UNREADABLE, ConfigError) as error:
        raise UserError(f"kubeconfig {path}: {error}; `kubectl config view` shows what it says") from error
    if config is None:
        raise UserError(f"kubeconfig {path} has no current context; choose one with `kubectl config use-context`")
    return Settings(config._replace(user=config.user or User()))


def settings_in_cluster(*, host: str, port: str, account: Path = SERVICE_ACCOUNT) -> Settings:
    """Give the settings of a pod, whose ServiceAccount's files are in `account`. Raises `UserError`."""
    token, certificate = account / "token", account / "ca.crt"
    if not token.is_file() or not certificate.is_file():
        raise UserError(f"{account} has no token and ca.crt; the pod needs automountServiceAccountToken")
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    config = KubeConfig.from_one(
        cluster=Cluster(server=server, certificate_auth=str(certificate)), user=User(token_file=str(token))
    ).get()
    if config is None:
        raise CallerError("a configuration of one cluster has a current context")
    return Settings(config)


class Connection:
    """An open connection; use it as a context. Raises `UserError` for certificates that cannot be read."""

    def __init__(self, settings: Settings) -> None:
        params = ConnectionParams(timeout=httpx2.Timeout(CALL_TIMEOUT_S), trust_env=False)
        try:
            self._client = AsyncClient(settings.config, params)
        except OSError as error:
            raise UserError(f"the certificates for {settings.config.cluster.server}: {error}") from error

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def call(
        self, method: str, path: str, params: Mapping[str, str], *, body: Any = None, form: str = "json"
    ) -> Any:
        """Do one request; `form` is what the body is, after `application/`. Gives the answer's plain values."""
        headers = {} if body is None else {"content-type": f"application/{form}"}
        content = None if body is None else msgspec.json.encode(body)
        with _connected():
            answer = await self._client.request(
                method, path, params=dict(params), content=content, headers=headers | {"accept": "application/json"}
            )
        if not answer.is_success:
            raise AnsweredWith(_status(answer.status_code, answer.content))
        return _decoded(answer.content)

    async def lines(self, path: str, params: Mapping[str, str], *, silent_s: float) -> AsyncGenerator[Any, None]:
        """Give the plain values of each line of an answer, until it ends or is silent for `silent_s`."""
        timeout = httpx2.Timeout(CALL_TIMEOUT_S, read=silent_s)
        with _connected():
            async with self._client.stream("GET", path, params=dict(params), timeout=timeout) as answer:
                if not answer.is_success:
                    raise AnsweredWith(_status(answer.status_code, await answer.aread()))
                rest = b""
                async for chunk in answer.aiter_bytes():
                    # Not aiter_lines: that also ends lines at U+0085, which an annotation may contain.
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        yield _decoded(line)


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
