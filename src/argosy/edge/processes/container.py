"""One container as a process that is started, probed, restarted when it ends, and stopped.

Rules of this file:

- A start that fails, an end by itself, a liveness probe that fails: all go through the same back-off (backoff.py), as
  far as the restart policy starts it again.
- Ready means: running, started (its startup probe has succeeded), and its readiness probe says so.
- A container that is being stopped is not given up by its probes: its grace is its own.
- Whatever way `run` ends, cancelling included, no process of it is left.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from argosy.api.containers import Container, Probe
from argosy.api.kubernetes import ContainerStatus
from argosy.edge.processes.backoff import Backoff
from argosy.edge.processes.ends import End, restarts
from argosy.edge.processes.guests import run_guest
from argosy.edge.processes.hooks import run_hook
from argosy.edge.processes.logfile import LogFile
from argosy.edge.processes.probes import Outcome, Reach, asker, probe_health
from argosy.edge.processes.process import Command, Exit, Process, SpawnFailed, spawn
from argosy.edge.processes.setting import ContainerSetting, Refusal

LOG_CHECK_S = 2.0
REFUSED_S = 2.0
HOOKED_GRACE_S = 2.0
"""What is left at least, after a hook has used up the grace."""


class ContainerProcess:
    """Runs one container; `changed` is awaited after every change of `status` and `why`."""

    def __init__(self, container: Container, setting: ContainerSetting, changed: Callable[[], Awaitable[None]]) -> None:
        self.why = "it is about to start"
        """One sentence for a person: why it is not ready, or that it is."""
        self.finished = False
        """Whether it has ended and will not be started again."""
        self.first_start = asyncio.Event()
        """Set once its startup probe has succeeded, or it runs without one."""
        self.log_starts = (0, 0)
        """Where in the log its last run and the one before it began."""
        self.container = container
        self._setting = setting
        self._changed = changed
        self._stopping = asyncio.Event()
        self._process: Process | None = None
        self._hooked = False
        self._ready = False
        self._started = False
        self._restarts = setting.restarts
        self._state: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}
        self._last_state: dict[str, Any] = {}
        self._verdict = ""
        self._guests = itertools.count()

    @property
    def status(self) -> ContainerStatus:
        """What became of it. A running state carries the process id, which Kubernetes' own does not."""
        return ContainerStatus(
            name=self.container.name,
            image=self.container.image,
            ready=self._ready and not self._leaving,
            started=self._started,
            restart_count=self._restarts,
            state=self._state,
            last_state=self._last_state,
        )

    @property
    def succeeded(self) -> bool:
        """Whether its last run ended with exit code 0."""
        return bool(self._state.get("terminated", {}).get("exitCode") == 0)

    def begin_stop(self) -> None:
        """Be unready and never restart from now on."""
        self._stopping.set()
        self.why = "it is being stopped"

    async def stop(self, grace_s: float) -> None:
        """End the process: hook, SIGTERM, SIGKILL after `grace_s`. `run` returns after that. May be repeated."""
        self.begin_stop()
        process = self._process
        if process is not None:
            await process.terminate(await self._pre_stop(process, grace_s))

    async def _pre_stop(self, process: Process, grace_s: float) -> float:
        """Do what comes before SIGTERM, once; give what is left of the grace."""
        lifecycle = self.container.lifecycle
        if lifecycle is None or lifecycle.pre_stop is None or self._hooked:
            return grace_s
        self._hooked = True
        loop = asyncio.get_running_loop()
        begun = loop.time()
        hook = loop.create_task(run_hook(lifecycle.pre_stop, self.container, self._reach(process)))
        end = loop.create_task(process.wait())
        try:
            await asyncio.wait({hook, end}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            end.cancel()
            hook.cancel()
            await asyncio.wait({hook})
        return max(HOOKED_GRACE_S, grace_s - (loop.time() - begun))

    async def run(self) -> None:
        """Keep it running until it is stopped, or has ended and its restart policy lets it rest."""
        command = self._setting.command
        if isinstance(command, Refusal):
            for reason in (command.reason, command.later or command.reason):
                await self._wait_as(reason, command.why)
                await self._rest(REFUSED_S)
            await self._stopping.wait()
            return
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        while not self._stopping.is_set():
            begun = loop.time()
            end = await self._run_once(command)
            if self.finished:
                break
            backoff = backoff.after_end(loop.time() - begun)
            await self._pause(backoff.delay_s, end.sentence)
            self._restarts += not self._stopping.is_set()

    @property
    def _leaving(self) -> bool:
        """Whether it counts as unready because it is being stopped."""
        return self._stopping.is_set() and not self._setting.conventions.ready_while_stopping

    async def _run_once(self, command: Command) -> End:
        """Run it from start to end."""
        enclosed = msgspec.structs.replace(command, argv=self._setting.enclosure.main(command.argv))
        started_at = self._setting.now()
        try:
            process = spawn(enclosed, self._setting.log)
        except SpawnFailed as failure:
            end = End(exit=None, verdict=str(failure))
            if not restarts(self._setting.restart_policy, end):
                await self._note_end(end, started_at)
            return end
        self._process = process
        self._verdict = ""
        self.log_starts = (self.log_starts[1], process.log_start)
        self._state = {"running": {"startedAt": started_at, "pid": process.pid}}
        self.why = "it runs and has not been asked for its health yet"
        try:
            await self._changed()
            async with asyncio.TaskGroup() as group:
                health = group.create_task(self._attend(process))
                exit_ = await self._until_end(process)
                health.cancel()
        finally:
            process.kill()
            await process.wait()
            self._process = None
        full_disk = str(process.log.path) if process.log.disk_full else ""
        end = End(exit=exit_, words=process.last_words(), verdict=self._verdict, full_disk=full_disk)
        await self._note_end(end, started_at)
        return end

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

    def _reach(self, process: Process) -> Reach:
        setting, command = self._setting, self._setting.command

        async def run(argv: tuple[str, ...], timeout_s: float | None) -> Outcome:
            if isinstance(command, Refusal):
                return Outcome(ok=False, why=command.why)
            words = setting.enclosure.guest(argv, process.pid)
            path = setting.log.path
            log = LogFile(path.with_name(f"{path.name}.guest-{next(self._guests)}"), setting.log.max_bytes)
            guest = msgspec.structs.replace(command, argv=words)
            return await run_guest(guest, log, named=argv[0], timeout_s=timeout_s)

        ask_grpc = setting.conventions.ask_grpc
        return Reach(address=setting.address, session=setting.session, run=run, grpc=ask_grpc)

    async def _attend(self, process: Process) -> None:
        """Do what comes after a start, then follow its health."""
        reach = self._reach(process)
        lifecycle = self.container.lifecycle
        if lifecycle is not None and lifecycle.post_start is not None:
            outcome = await run_hook(lifecycle.post_start, self.container, reach)
            if not outcome.ok:
                await self._condemn(process, self._setting.grace_s, f"post-start hook failed: {outcome.why}")
                return
        if not await self._wait_started(process, reach):
            return
        self._started = True
        self.first_start.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_liveness(process, reach))
            group.create_task(self._follow_readiness(reach))

    async def _wait_started(self, process: Process, reach: Reach) -> bool:
        probe = self.container.startup_probe
        if probe is None:
            return True
        ask = asker(probe, self.container, reach)
        async with contextlib.aclosing(probe_health(probe, ask, at_first=None)) as answers:
            async for health, why in answers:
                if health.healthy is not None:
                    break
                await self._be(ready=False, why=f"it has not started yet: {why}")
        if not health.healthy:
            await self._condemn(process, self._grace_of(probe), f"startup probe failed: {why}")
        return bool(health.healthy)

    async def _follow_liveness(self, process: Process, reach: Reach) -> None:
        probe = self.container.liveness_probe
        if probe is None:
            return
        ask = asker(probe, self.container, reach)
        async with contextlib.aclosing(probe_health(probe, ask, at_first=True)) as answers:
            async for health, why in answers:
                if not health.healthy:
                    await self._condemn(process, self._grace_of(probe), f"liveness probe failed: {why}")
                    return

    async def _follow_readiness(self, reach: Reach) -> None:
        probe = self.container.readiness_probe
        if probe is None:
            await self._be(ready=True, why="it runs")
            return
        ask = asker(probe, self.container, reach)
        async with contextlib.aclosing(probe_health(probe, ask, at_first=False)) as answers:
            async for health, why in answers:
                ready = bool(health.healthy)
                await self._be(ready=ready, why="it answers" if ready else f"it is not ready: {why}")

    def _grace_of(self, probe: Probe) -> float:
        grace_s = probe.termination_grace_period_seconds
        return self._setting.grace_s if grace_s is None else grace_s

    async def _condemn(self, process: Process, grace_s: float, verdict: str) -> None:
        """End a process that its probes have given up."""
        if self._stopping.is_set():
            return
        self._verdict = verdict
        await self._be(ready=False, why=verdict)
        await process.terminate(grace_s)

    async def _be(self, *, ready: bool, why: str) -> None:
        if (ready, why) == (self._ready, self.why) or self._leaving:
            return
        self._ready = ready
        if not self._stopping.is_set():
            self.why = why
        await self._changed()

    async def _note_end(self, end: End, started_at: str) -> None:
        code = 128 if end.exit is None else end.exit.shell_code
        terminated = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "message": self._setting.conventions.end_message(self.container, end),
            "startedAt": started_at,
            "finishedAt": self._setting.now(),
        }
        if end.exit is not None and end.exit.code < 0:
            terminated["signal"] = -end.exit.code
        self.finished = self._stopping.is_set() or not restarts(self._setting.restart_policy, end)
        self._ready = self._started = False
        self._state = {"terminated": terminated}
        self._last_state = {} if self.finished else self._state
        if not self._stopping.is_set():
            self.why = f"it ended: {end.sentence}"
        await self._changed()

    async def _pause(self, delay_s: float, ended: str) -> None:
        if not delay_s or self._stopping.is_set():
            return
        await self._wait_as("CrashLoopBackOff", f"it starts again {delay_s:g} s after its last end: {ended}")
        await self._rest(delay_s)

    async def _rest(self, seconds: float) -> None:
        """Do nothing for so long, or until it is stopped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _wait_as(self, reason: str, why: str) -> None:
        self._state = {"waiting": {"reason": reason, "message": why}}
        self.why = why
        await self._changed()
