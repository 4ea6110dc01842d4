"""Kubeconfig files are read as kubectl reads them."""

import contextlib
import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web

from argosy.base.errors import UserError
from argosy.edge.kube.connection import Connection
from argosy.edge.kube.exec_plugin import PluginAuth
from argosy.edge.kube.kubeconfig import ExecPlugin, Kubeconfig, read_kubeconfigs

V1 = "client.authentication.k8s.io/v1"


def written(path: Path, **content: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def cluster(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "cluster": {"server": f"https://{name}.example", **fields}}


def context(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "context": {"cluster": "c", **fields}}


def read(*paths: Path) -> Kubeconfig:
    found = read_kubeconfigs(paths)
    assert found is not None
    return found


def test_of_several_files_the_first_that_names_something_is_right(tmp_path: Path) -> None:
    first = written(tmp_path / "a" / "config", clusters=[cluster("c")], contexts=[context("x", namespace="first")])
    second = written(
        tmp_path / "b" / "config",
        **{"current-context": "y"},
        clusters=[cluster("c", server="https://second.example")],
        contexts=[context("x", namespace="second"), context("y", user="u")],
        users=[{"name": "u", "user": {"tokenFile": "token"}}],
    )
    found = read(tmp_path / "missing", first, second)
    assert found.contexts == ("x", "y")
    assert found.current_context == "y"
    assert found.settings("x").config.namespace == "first"
    settings = found.settings()
    assert settings.config.cluster.server == "https://c.example"
    assert settings.config.user is not None
    assert settings.config.user.token_file == str(second.parent / "token")


def test_no_file_at_all_is_none(tmp_path: Path) -> None:
    assert read_kubeconfigs([tmp_path / "config"]) is None
    assert read_kubeconfigs([]) is None


def test_a_context_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    found = read(written(tmp_path / "config", clusters=[cluster("c")], contexts=[context("x"), context("y")]))
    with pytest.raises(UserError, match="no context 'z'; there are: x, y"):
        found.settings("z")
    with pytest.raises(UserError, match="use-context"):
        found.settings()


@pytest.mark.parametrize(
    "content",
    [
        {"contexts": [{"context": {"cluster": "c"}}]},
        {"contexts": 7},
        {"clusters": [{"name": "c", "cluster": 7}]},
        {"users": [{"name": "u", "user": {"exec": {"command": "x"}}}], "contexts": [context("x", user="u")]},
    ],
    ids=["no-name", "a-number", "cluster-is-a-number", "plugin-without-a-version"],
)
def test_a_shape_that_is_wrong_is_named(tmp_path: Path, content: dict[str, Any]) -> None:
    path = written(tmp_path / "config", **{"clusters": [cluster("c")], "contexts": [context("x")], **content})
    with pytest.raises(UserError, match=f"kubeconfig {path}"):
        read(path).settings("x")


def test_what_lightkube_does_not_know_is_kept(tmp_path: Path) -> None:
    plugin = {
        "apiVersion": V1,
        "command": "./login",
        "args": ["-v"],
        "env": [{"name": "A", "value": "b"}],
        "provideClusterInfo": True,
    }
    path = written(
        tmp_path / "config",
        clusters=[cluster("c", **{"proxy-url": "http://proxy.example:3128", "tls-server-name": "inner.example"})],
        contexts=[context("x", user="u")],
        users=[{"name": "u", "user": {"exec": plugin}}],
    )
    settings = read(path).settings("x")
    assert settings.proxy == "http://proxy.example:3128"
    assert settings.server_name == "inner.example"
    assert settings.plugin is not None
    assert settings.plugin.folder == tmp_path
    assert settings.plugin.env == {"A": "b"}
    assert settings.plugin.cluster is not None
    assert settings.plugin.cluster["server"] == "https://c.example"


@asynccontextmanager
async def server(tokens: set[str], told: list[str]) -> AsyncIterator[str]:
    """A server that lets those in who bring one of the tokens."""

    async def answer(request: web.Request) -> web.Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        told.append(token)
        return web.json_response({"items": []}) if token in tokens else web.json_response({}, status=401)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def plugin_script(folder: Path, body: str) -> Path:
    path = folder / "login"
    path.write_text(f"#!{sys.executable}\nimport json, os, sys\n{body}")
    path.chmod(0o755)
    return path


COUNTED = """
folder = os.path.dirname(os.path.abspath(__file__))
with open(folder + "/asked", "a+") as file:
    file.seek(0)
    count = len(file.read())
    file.write("x")
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
assert info["kind"] == "ExecCredential" and info["spec"]["interactive"] in (True, False)
status = {"token": f"t{count}"}
if os.environ.get("EXPIRES"):
    status["expirationTimestamp"] = os.environ["EXPIRES"]
print(json.dumps({"apiVersion": info["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


def config_with_plugin(folder: Path, url: str, **env: str) -> Path:
    plugin = {"apiVersion": V1, "command": "./login", "env": [{"name": k, "value": v} for k, v in env.items()]}
    return written(
        folder / "config",
        clusters=[{"name": "c", "cluster": {"server": url}}],
        contexts=[context("x", user="u")],
        users=[{"name": "u", "user": {"exec": plugin}}],
    )


async def test_a_plugin_is_asked_once_and_again_when_the_server_no_longer_takes_its_token(tmp_path: Path) -> None:
    plugin_script(tmp_path, COUNTED)
    tokens, told = {"t0"}, []
    async with server(tokens, told) as url:
        settings = read(config_with_plugin(tmp_path, url)).settings("x")
        async with Connection(settings) as connection:
            await connection.call("GET", "/a", {})
            await connection.call("GET", "/b", {})
            tokens.clear()
            tokens.add("t1")
            await connection.call("GET", "/c", {})
    assert told == ["t0", "t0", "t0", "t1"]


async def test_a_credential_that_has_expired_is_asked_for_anew(tmp_path: Path) -> None:
    plugin_script(tmp_path, COUNTED)
    told: list[str] = []
    async with server({"t0", "t1"}, told) as url:
        settings = read(config_with_plugin(tmp_path, url, EXPIRES="2001-01-01T00:00:00Z")).settings("x")
        async with Connection(settings) as connection:
            await connection.call("GET", "/a", {})
            await connection.call("GET", "/b", {})
    assert told == ["t0", "t1"]


@pytest.mark.parametrize(
    ("body", "says"), [("sys.exit(3)", "ended with 3"), ("print('hello')", "printed no ExecCredential")]
)
async def test_a_plugin_that_fails_is_named(tmp_path: Path, body: str, says: str) -> None:
    plugin_script(tmp_path, body)
    settings = read(config_with_plugin(tmp_path, "http://127.0.0.1:1")).settings("x")
    async with Connection(settings) as connection:
        with pytest.raises(UserError, match=says):
            await connection.call("GET", "/a", {})


async def test_a_plugin_that_is_not_there_is_named_with_its_hint(tmp_path: Path) -> None:
    plugin = ExecPlugin(api_version=V1, command="argosy-no-such-login", install_hint="get it from your provider")
    auth = PluginAuth(plugin, ssl.create_default_context(), {"PATH": str(tmp_path)})
    with pytest.raises(UserError, match=r"argosy-no-such-login.*get it from your provider"):
        await anext(auth.async_auth_flow(httpx2.Request("GET", "http://127.0.0.1:1/")))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate and its key."""
    certificate, key = tmp_path / "crt.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=me"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=30)
    return certificate, key


async def test_a_plugins_certificate_is_presented(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    script = f"""
status = {{"clientKeyData": open("{key}").read(), "clientCertificateData": open("{certificate}").read()}}
print(json.dumps({{"status": status}}))
"""
    plugin = ExecPlugin(api_version=V1, command=str(plugin_script(tmp_path, script)))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)  # either side of a connection presents alike
    request = await anext(PluginAuth(plugin, context, {}).async_auth_flow(httpx2.Request("GET", "http://127.0.0.1/")))
    assert "authorization" not in request.headers
    assert presented_by(context) == ssl.PEM_cert_to_DER_cert(certificate.read_text())


def presented_by(context: ssl.SSLContext) -> bytes | None:
    """Give the certificate that the other side of a connection sees."""
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, serving = trusting.wrap_bio(down, up), context.wrap_bio(up, down, server_side=True)
    for side in (client, serving, client, serving):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return client.getpeercert(binary_form=True)
