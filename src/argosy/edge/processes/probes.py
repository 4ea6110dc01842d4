"""Probes: how a container is asked for its health, and what a row of answers means.

Rules of this file:

- What a row of answers means is a pure value, `Health`; asking is apart from it.
- Kubernetes' semantics (pod lifecycle, "Container probes"): a GET is healthy at 200 to 399 and no redirect is
  followed; health changes after `successThreshold` or `failureThreshold` like answers in a row.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import NamedTuple, Self

import aiohttp
import msgspec

from argosy.api.containers import Container, HTTPGetAction, Probe

_EXCERPT_BYTES = 200


class Outcome(NamedTuple):
    """One answer; `why` is a sentence."""

    ok: bool
    why: str


class Health(msgspec.Struct, frozen=True):
    """What a row of answers means: healthy, not, or not known yet (None); and how many in a row speak against it."""

    healthy: bool | None
    against: int = 0

    def after(self, probe: Probe, *, ok: bool) -> Self:
        """Give the health after one more answer."""
        if ok == self.healthy:
            return type(self)(self.healthy)
        threshold = probe.success_threshold if ok else probe.failure_threshold
        if self.against + 1 >= threshold:
            return type(self)(ok)
        return type(self)(self.healthy, self.against + 1)


Ask = Callable[[], Awaitable[Outcome]]
AskGRPC = Callable[[str, str, float], Awaitable[tuple[bool, str]]]
"""Asks `host:port` for the health of a gRPC service within seconds: whether it serves, and a sentence."""
RunGuest = Callable[[tuple[str, ...], float | None], Awaitable[Outcome]]
"""Runs a command beside the container's process, within seconds or for as long as it takes."""


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """By which ways a running container is asked and told."""

    address: str
    session: aiohttp.ClientSession
    run: RunGuest
    grpc: AskGRPC | None = None


async def probe_health(probe: Probe, ask: Ask, *, at_first: bool | None) -> AsyncGenerator[tuple[Health, str], None]:
    """Ask for ever; give the health after every answer and the answer's sentence.

    A period is from one question to the next, and at least as long as the answer takes. Health is `at_first` False for
    readiness, True for liveness, None for startup.
    """
    health = Health(at_first)
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(probe.initial_delay_seconds)
    while True:
        asked_at_s = clock()
        outcome = await ask()
        health = health.after(probe, ok=outcome.ok)
        yield health, outcome.why
        await asyncio.sleep(asked_at_s + probe.period_seconds - clock())


def asker(probe: Probe, container: Container, reach: Reach) -> Ask:
    """Give the question that a probe of this container asks."""
    timeout_s = probe.timeout_seconds
    if probe.http_get is not None:
        http_get = probe.http_get
        return lambda: get(http_get, container, reach, timeout_s)
    if probe.tcp_socket is not None:
        tcp_port = _port(probe.tcp_socket.port, container)
        return lambda: _connect(reach.address, tcp_port, timeout_s)
    if probe.exec is not None:
        command = probe.exec.command
        return lambda: reach.run(command, timeout_s)
    if probe.grpc is not None and reach.grpc is not None:
        ask, authority, service = reach.grpc, f"{reach.address}:{probe.grpc.port}", probe.grpc.service or ""
        return lambda: _ask_grpc(ask, authority, service, timeout_s)
    return _unknown


def _port(port: int | str, container: Container) -> int:
    named = {each.name: each.container_port for each in container.ports}
    return port if isinstance(port, int) else named.get(port, 0)


async def _ask_grpc(ask: AskGRPC, authority: str, service: str, timeout_s: float) -> Outcome:
    return Outcome(*await ask(authority, service, timeout_s))


async def get(action: HTTPGetAction, container: Container, reach: Reach, timeout_s: float) -> Outcome:
    """Do a GET at a container; by HTTPS its certificate is not verified, as the kubelet's probes do not."""
    scheme = (action.scheme or "HTTP").lower()
    url = f"{scheme}://{action.host or reach.address}:{_port(action.port, container)}{action.path}"
    headers = {header["name"]: header["value"] for header in action.http_headers}
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with reach.session.get(url, timeout=timeout, allow_redirects=False, headers=headers, ssl=False) as answer:
            said = (await answer.content.read(_EXCERPT_BYTES)).decode(errors="replace").strip()
            return Outcome(
                200 <= answer.status < 400, f"GET {url} answered {answer.status}" + (f": {said}" if said else "")
            )
    except TimeoutError:
        return Outcome(ok=False, why=f"GET {url} had no answer in {timeout_s} s")
    except aiohttp.ClientConnectorError as error:
        return Outcome(ok=False, why=f"GET {url} failed: {error.os_error.strerror or error.os_error}")
    except (aiohttp.ClientError, OSError) as error:
        return Outcome(ok=False, why=f"GET {url} failed: {error or type(error).__name__}")


async def _connect(address: str, port: int, timeout_s: float) -> Outcome:
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        return Outcome(ok=False, why=f"{address}:{port} did not accept a connection in {timeout_s} s")
    except OSError as error:
        return Outcome(ok=False, why=f"{address}:{port} does not accept connections: {error.strerror or error}")
    writer.close()
    return Outcome(ok=True, why=f"{address}:{port} accepts connections")


async def _unknown() -> Outcome:
    return Outcome(ok=False, why="the probe asks in no way that is known here")
