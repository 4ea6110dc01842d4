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

from argosy.api.kubernetes import Container, HTTPGetAction, Probe

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


async def probe_health(probe: Probe, ask: Ask, *, at_first: bool | None) -> AsyncGenerator[tuple[Health, str], None]:
    """Ask for ever; give the health after every answer and the answer's sentence.

    Health is `at_first` False for readiness, True for liveness, None for startup.
    """
    health = Health(at_first)
    await asyncio.sleep(probe.initial_delay_seconds)
    while True:
        outcome = await ask()
        health = health.after(probe, ok=outcome.ok)
        yield health, outcome.why
        await asyncio.sleep(probe.period_seconds)


def asker(probe: Probe, container: Container, address: str, session: aiohttp.ClientSession) -> Ask:
    """Give the question that a probe of this container, at this address, asks."""
    if probe.http_get is not None:
        http_get, port = probe.http_get, _port(probe.http_get.port, container)
        return lambda: _get(http_get, f"{address}:{port}", probe.timeout_seconds, session)
    if probe.tcp_socket is not None:
        tcp_port = _port(probe.tcp_socket.port, container)
        return lambda: _connect(address, tcp_port, probe.timeout_seconds)
    return _unknown


def _port(port: int | str, container: Container) -> int:
    named = {each.name: each.container_port for each in container.ports}
    return port if isinstance(port, int) else named.get(port, 0)


async def _get(action: HTTPGetAction, authority: str, timeout_s: float, session: aiohttp.ClientSession) -> Outcome:
    url = f"http://{authority}{action.path}"
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=timeout_s), allow_redirects=False) as answer:
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
    return Outcome(ok=False, why="the probe asks neither by HTTP nor by TCP; no other way is known here")
