"""Credentials from a program, as kubeconfigs of cloud providers have them.

Rules of this file:

- The program is asked when the first request is made, again when what it gave has expired, and once more when the
  server says 401.
- What it prints on standard error is the user's to see; what it gives is never logged.

Source: kubernetes.io, "client-go credential plugins" (client.authentication.k8s.io v1 and v1beta1).
"""

import asyncio
import base64
import datetime as dt
import os
import shutil
import ssl
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from argosy.base.errors import UserError
from argosy.edge.kube.kubeconfig import ExecPlugin


class Credential(msgspec.Struct, frozen=True, rename="camel"):
    """What a plugin gives: a token, a certificate with its key, or both."""

    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: dt.datetime | None = None


class _Answer(msgspec.Struct, frozen=True):
    status: Credential


class PluginAuth(httpx2.Auth):
    """Puts a plugin's credential on requests; a client certificate goes into `context`. Raises `UserError`."""

    def __init__(self, plugin: ExecPlugin, context: ssl.SSLContext, environment: Mapping[str, str]) -> None:
        self._plugin = plugin
        self._context = context
        self._environment = environment
        self._credential: Credential | None = None
        self._asking = asyncio.Lock()

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send the request with what is known; ask anew, once, where the server does not take that."""
        asked = await self._ask(unless=None)
        _sign(request, asked)
        response = yield request
        if response.status_code == 401:
            _sign(request, await self._ask(unless=asked))
            yield request

    async def _ask(self, *, unless: Credential | None) -> Credential:
        """Give a credential in force, other than `unless`."""
        async with self._asking:
            known = self._credential
            if known is None or known is unless or _expired(known):
                known = self._credential = await self._run()
                if known.client_certificate_data and known.client_key_data:
                    _present(self._context, known.client_certificate_data, known.client_key_data)
            return known

    async def _run(self) -> Credential:
        plugin = self._plugin
        interactive = sys.stdin.isatty()
        spec: dict[str, Any] = {"interactive": interactive}
        spec |= {} if plugin.cluster is None else {"cluster": plugin.cluster}
        info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
        environment = {**self._environment, **plugin.env, "KUBERNETES_EXEC_INFO": msgspec.json.encode(info).decode()}
        try:
            process = await asyncio.create_subprocess_exec(
                _program(plugin, environment),
                *plugin.args,
                stdin=None if interactive else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                env=environment,
            )
        except OSError as error:
            hint = f"; {plugin.install_hint.strip()}" if plugin.install_hint else "; install it, or correct its path"
            raise UserError(f"the kubeconfig's credential plugin {plugin.command}: {error.strerror}{hint}") from error
        output, _ = await process.communicate()
        if process.returncode:
            raise UserError(
                f"the kubeconfig's credential plugin {plugin.command} ended with {process.returncode}; "
                "its words are above; log in again, as your provider says"
            )
        try:
            return msgspec.json.decode(output, type=_Answer).status
        except msgspec.DecodeError:
            raise UserError(
                f"the kubeconfig's credential plugin {plugin.command} printed no ExecCredential; run it by hand to see"
            ) from None


def _program(plugin: ExecPlugin, environment: Mapping[str, str]) -> str:
    if os.sep in plugin.command:
        return str(plugin.folder / plugin.command)
    return shutil.which(plugin.command, path=environment.get("PATH")) or plugin.command


def _sign(request: httpx2.Request, credential: Credential) -> None:
    if credential.token:
        request.headers["authorization"] = f"Bearer {credential.token}"


def _expired(credential: Credential) -> bool:
    end = credential.expiration_timestamp
    return end is not None and end <= dt.datetime.now(end.tzinfo)


def _present(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Present a certificate on the connections to come; what the plugin gives is PEM, or PEM in base64."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pair.pem"
        path.touch(mode=0o600)
        path.write_bytes(b"\n".join(_pem(text) for text in (certificate, key)))
        context.load_cert_chain(path)


def _pem(text: str) -> bytes:
    return text.encode() if "-----BEGIN" in text else base64.b64decode(text)
