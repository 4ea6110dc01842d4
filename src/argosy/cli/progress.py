"""Waiting for an instance to be ready, visibly: a bar in a terminal, a line per change elsewhere."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from argosy.base.errors import ArgosyError

if TYPE_CHECKING:
    import aiohttp

    from argosy.apps.fleet.fleet import Fleet
    from argosy.decide.planning.observation import Observation

POLL_S = 0.1
FAILING_S = 15.0
"""So long may a replica fail again and again until nobody waits for it any more."""
FIRST_TOKEN_TIMEOUT_S = 120.0


class NotReady(ArgosyError):  # noqa: N818 (named for the state)
    """The instance did not get ready; the message says what it waits for."""


class Display(Protocol):
    """Shows how far an instance has come."""

    def show(self, observation: "Observation") -> None:
        """Show this state."""


class _Lines:
    """One line for every part that gets ready, or leaves; those that are ready at first go without saying."""

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._said: set[str] | None = None
        self._leaving: set[str] = set()

    def show(self, observation: "Observation") -> None:
        ready = {name for name, is_ready in _parts(observation) if is_ready}
        for name in sorted(ready - self._said) if self._said is not None else ():
            print(f"  {name} is ready ({time.monotonic() - self._begun:.1f} s)", flush=True)
        self._said = ready | (self._said or set())
        for replica in (each for service in observation.services for each in service.replicas):
            if replica.leaving and replica.name not in self._leaving:
                print(f"  {replica.name} {replica.message}", flush=True)
                self._leaving.add(replica.name)


class _Bar:
    """A bar over all parts, and the names of those that are not ready."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=None)

    def show(self, observation: "Observation") -> None:
        parts = _parts(observation)
        waiting = [name for name, ready in parts if not ready]
        text = f"waiting for {', '.join(waiting)}" if waiting else "asking for a first token"
        self._progress.update(self._task, total=len(parts), completed=len(parts) - len(waiting), description=text)


@contextlib.contextmanager
def display() -> Iterator[Display]:
    """Give what fits the terminal, or the lack of one."""
    if not sys.stdout.isatty():
        yield _Lines(time.monotonic())
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.table import Column  # noqa: PLC0415

    columns = (
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    with Progress(*columns, transient=True) as progress:
        yield _Bar(progress)


def _parts(observation: "Observation") -> list[tuple[str, bool]]:
    """Give name and readiness of everything that must get ready."""
    components = [(part.name, part.ready) for part in observation.components]
    replicas = [(replica.name, replica.ready) for service in observation.services for replica in service.replicas]
    return [*components, ("routes", observation.gateway.programmed), *replicas]


async def wait_until_ready(fleet: "Fleet", supervisor: Callable[[], int | None], *, timeout_s: float) -> "Observation":
    """Wait until every service has answered a request through the gateway. Raises `NotReady`.

    `supervisor` gives the supervisor's process id, or None once it has ended.
    """
    import msgspec  # noqa: PLC0415 (other verbs start without)

    from argosy.apps.fleet.observe import observe  # noqa: PLC0415
    from argosy.edge.kube.port import StoreUnavailable  # noqa: PLC0415

    deadline = time.monotonic() + timeout_s
    failing_since: float | None = None
    with display() as shown:
        while True:
            if (pid := supervisor()) is None:
                raise NotReady("the supervisor has ended")
            try:
                observation = await observe(msgspec.structs.replace(fleet, supervisor_pid=pid))
            except StoreUnavailable as error:
                if time.monotonic() > deadline:
                    raise NotReady(f"the supervisor does not answer: {error}") from error
                await asyncio.sleep(POLL_S)
                continue
            shown.show(observation)
            if observation.ready:
                await _first_tokens(observation, deadline)
                return observation
            now = time.monotonic()
            failing_since = (failing_since or now) if observation.failing else None
            if now > deadline or (failing_since is not None and now - failing_since > FAILING_S):
                raise NotReady("; ".join(observation.waiting_for))
            await asyncio.sleep(POLL_S)


async def _first_tokens(observation: "Observation", deadline: float) -> None:
    """Ask every service for one token, through the gateway: the proof that all of the path is there."""
    import aiohttp  # noqa: PLC0415

    timeout = aiohttp.ClientTimeout(total=FIRST_TOKEN_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for service in observation.services:
            if service.wanted:
                await _first_token(session, observation.gateway.url, service.model, deadline)


async def _first_token(session: "aiohttp.ClientSession", url: str, model: str, deadline: float) -> None:
    import aiohttp  # noqa: PLC0415

    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    said = ""
    while time.monotonic() < deadline:
        try:
            async with session.post(f"{url}/chat/completions", json=body) as response:
                if response.status == 200:
                    return
                said = f"{response.status} {(await response.text())[:300]}"
        except (aiohttp.ClientError, TimeoutError) as error:
            said = repr(error)
        await asyncio.sleep(POLL_S)
    raise NotReady(f"model {model} does not answer at {url}: {said}")


def curl_line(observation: "Observation") -> str | None:
    """Give a command to paste: a streamed chat with the first service that has replicas; None when none has."""
    model = next((service.model for service in observation.services if service.wanted), None)
    if model is None:
        return None
    body = {
        "model": model,
        "stream": True,
        "messages": [{"role": "user", "content": "What is a fleet?"}],
    }
    data = json.dumps(body).replace("'", "'\\''")
    return f"curl -N {observation.gateway.url}/chat/completions -H 'content-type: application/json' -d '{data}'"
