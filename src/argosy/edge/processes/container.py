"""One container as a process that is started, probed, restarted when it ends, and stopped.

Rules of this file:

- Restart policy is Always. A start that fails, an end by itself, a liveness probe that fails: all go through the same
  back-off (backoff.py).
- Ready means: running, started (its startup probe has succeeded), and its readiness probe says so.
- Whatever way `run` ends, cancelling included, no process of it is left.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import aiohttp
import msgspec

from argosy.api.kubernetes import Container, ContainerStatus, Probe
from argosy.edge.processes.backoff import Backoff
from argosy.edge.processes.logfile import LogFile
from argosy.edge.processes.probes import asker, probe_health
from argosy.edge.processes.process import Command, Exit, Process, SpawnFailed, spawn

LOG_CHECK_S = 2.0


class ContainerSetting(msgspec.Struct, frozen=True, kw_only=True):
    """What a container needs of its surroundings. `now` gives the time as RFC 3339."""

    command: Command | None
    refusal: str = ""
    """Why there is no command, where there is none."""
    address: str
    grace_s: float
    log: LogFile
    session: aiohttp.ClientSession
    now: Callable[[], str]


class ContainerProcess:
    """Runs one container; `changed` is awaited after every change of `status` and `why`."""

    def __init__(self, container: Container, setting: ContainerSetting, changed: Callable[[], Awaitable[None]]) -> None:
        self.why = "it is about to start"
        """One sentence for a person: why it is not ready, or that it is."""
        self._container = container
        self._setting = setting
        self._changed = changed
        self._stopping = asyncio.Event()
        self._process: Process | None = None
        self._ready = False
        self._started = False
        self._restarts = 0
        self._state: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}
        self._last_state: dict[str, Any] = {}
        self._verdict = ""

    @property
    def status(self) -> ContainerStatus:
        """What became of it. A running state carries the process id, which Kubernetes' own does not."""
        return ContainerStatus(
            name=self._container.name,
            image=self._container.image,
            ready=self._ready and not self._stopping.is_set(),
            started=self._started,
            restart_count=self._restarts,
            state=self._state,
            last_state=self._last_state,
        )

    def begin_stop(self) -> None:
        """Be unready and never restart from now on."""
        self._stopping.set()
        self.why = "it is being stopped"

    async def stop(self, grace_s: float) -> None:
        """End the process: SIGTERM, and SIGKILL after `grace_s`. `run` returns after that."""
        self.begin_stop()
        if self._process is not None:
            await self._process.terminate(grace_s)

    async def run(self) -> None:
        """Keep it running until it is stopped."""
        if self._setting.command is None:
            await self._wait_as("CannotRun", self._setting.refusal)
            await self._stopping.wait()
            return
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        while not self._stopping.is_set():
            begun = loop.time()
            ended = await self._run_once(self._setting.command)
            if self._stopping.is_set():
                break
            backoff = backoff.after_end(loop.time() - begun)
            await self._pause(backoff.delay_s, ended)
            self._restarts += not self._stopping.is_set()

    async def _run_once(self, command: Command) -> str:
        """Run it from start to end; give how it ended as a sentence."""
        try:
            process = spawn(command, self._setting.log)
        except SpawnFailed as failure:
            return str(failure)
        started_at = self._setting.now()
        self._process = process
        self._verdict = ""
        self._state = {"running": {"startedAt": started_at, "pid": process.pid}}
        self.why = "it runs and has not been asked for its health yet"
        try:
            await self._changed()
            async with asyncio.TaskGroup() as group:
                health = group.create_task(self._follow_health(process))
                ended = await self._until_end(process)
                health.cancel()
        finally:
            process.kill()
            await process.wait()
            self._process = None
        sentence = self._describe(ended, process)
        await self._note_end(ended, sentence, started_at)
        return sentence

    async def _until_end(self, process: Process) -> Exit:
        """Wait for the end, and keep the log bounded meanwhile."""
        end = asyncio.ensure_future(process.wait())
        try:
            while not end.done():
                await asyncio.wait({end}, timeout=LOG_CHECK_S)
                process.log.bound()
        finally:
            end.cancel()
        return end.result()

    async def _follow_health(self, process: Process) -> None:
        if not await self._wait_started(process):
            return
        self._started = True
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_liveness(process))
            group.create_task(self._follow_readiness())

    async def _wait_started(self, process: Process) -> bool:
        probe = self._container.startup_probe
        if probe is None:
            return True
        ask = asker(probe, self._container, self._setting.address, self._setting.session)
        async with aclosing(probe_health(probe, ask, at_first=None)) as answers:
            async for health, why in answers:
                if health.healthy is not None:
                    break
                await self._be(ready=False, why=f"it has not started yet: {why}")
        if not health.healthy:
            await self._condemn(process, probe, f"startup probe failed: {why}")
        return bool(health.healthy)

    async def _follow_liveness(self, process: Process) -> None:
        probe = self._container.liveness_probe
        if probe is None:
            return
        ask = asker(probe, self._container, self._setting.address, self._setting.session)
        async with aclosing(probe_health(probe, ask, at_first=True)) as answers:
            async for health, why in answers:
                if not health.healthy:
                    await self._condemn(process, probe, f"liveness probe failed: {why}")
                    return

    async def _follow_readiness(self) -> None:
        probe = self._container.readiness_probe
        if probe is None:
            await self._be(ready=True, why="it runs")
            return
        ask = asker(probe, self._container, self._setting.address, self._setting.session)
        async with aclosing(probe_health(probe, ask, at_first=False)) as answers:
            async for health, why in answers:
                ready = bool(health.healthy)
                await self._be(ready=ready, why="it answers" if ready else f"it is not ready: {why}")

    async def _condemn(self, process: Process, probe: Probe, verdict: str) -> None:
        """End a process that its probes have given up."""
        self._verdict = verdict
        await self._be(ready=False, why=verdict)
        grace_s = probe.termination_grace_period_seconds
        await process.terminate(self._setting.grace_s if grace_s is None else grace_s)

    async def _be(self, *, ready: bool, why: str) -> None:
        if (ready, why) != (self._ready, self.why) and not self._stopping.is_set():
            self._ready, self.why = ready, why
            await self._changed()

    def _describe(self, ended: Exit, process: Process) -> str:
        words = process.last_words()
        sentence = f"{self._verdict}; then {ended}" if self._verdict else str(ended)
        if process.log.disk_full:
            sentence += f"; the disk of {process.log.path} is full"
        return f"{sentence}; its last words: {words}" if words else sentence

    async def _note_end(self, ended: Exit, sentence: str, started_at: str) -> None:
        terminated = {
            "exitCode": ended.shell_code,
            "reason": "Completed" if ended.code == 0 else "Error",
            "message": sentence,
            "startedAt": started_at,
            "finishedAt": self._setting.now(),
        }
        if ended.code < 0:
            terminated["signal"] = -ended.code
        self._ready = self._started = False
        self._state = {"terminated": terminated}
        self._last_state = {} if self._stopping.is_set() else self._state
        if not self._stopping.is_set():
            self.why = f"it ended: {sentence}"
        await self._changed()

    async def _pause(self, delay_s: float, ended: str) -> None:
        if not delay_s:
            return
        await self._wait_as("CrashLoopBackOff", f"it starts again {delay_s:g} s after its last end: {ended}")
        try:
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _wait_as(self, reason: str, why: str) -> None:
        self._state = {"waiting": {"reason": reason, "message": why}}
        self.why = why
        await self._changed()
