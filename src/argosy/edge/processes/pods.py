"""One Pod as processes of this machine.

    pod = PodProcess(obj, setting, report=write_it, now=rfc3339_now)
    task = group.create_task(pod.run())     # cancelling it kills the pod's processes
    await pod.stop()                        # unready, SIGTERM, grace, SIGKILL; `run` has returned then

Rules of this file:

- A pod gets an address and the resolved commands; which address, which commands and which variables is the caller's.
- Every change is reported, in order, and none twice; `report` must not raise. Being unready is reported before
  SIGTERM is sent.
- What cannot be run (an unknown image, a variable without a source) is a waiting container with a sentence.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp
import msgspec

from argosy.api.kubernetes import Container, Pod, PodStatus
from argosy.api.objects import Condition
from argosy.edge.processes.container import ContainerProcess, ContainerSetting
from argosy.edge.processes.environment import Unresolvable, container_variables, expand, pod_fields
from argosy.edge.processes.logfile import MAX_BYTES, LogFile
from argosy.edge.processes.process import Command

GRACE_S = 30
"""Kubernetes' own default of `terminationGracePeriodSeconds`."""

Report = Callable[[PodStatus], Awaitable[None]]


class LocalCommand(msgspec.Struct, frozen=True, kw_only=True):
    """What stands for an image on this machine.

    `argv` is its entry point, `extra_args` follow the container's own, `env` goes over the container's own; `$(NAME)`
    is replaced in both.
    """

    argv: tuple[str, ...]
    extra_args: tuple[str, ...] = ()
    env: Mapping[str, str] = {}


class PodSetting(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod needs of its machine."""

    address: str
    commands: Mapping[str, LocalCommand]
    """By the image's name, without tag and digest."""
    inherited: Mapping[str, str] = {}
    """The environment that every process gets (PATH, HOME, …); `$(NAME)` does not see it."""
    variables: Mapping[str, str] = {}
    """Variables of Services; `$(NAME)` sees them."""
    limits: Mapping[str, str] = {}
    """What `resourceFieldRef` gives for `limits.NAME`, e.g. {"cpu": "2"}."""
    logs: Path
    """The folder for `POD.log`, or `POD.CONTAINER.log` when the pod has several."""
    max_log_bytes: int = MAX_BYTES


class PodProcess:
    """Runs one pod until it is stopped. `now` gives the time as RFC 3339."""

    def __init__(self, pod: Pod, setting: PodSetting, *, report: Report, now: Callable[[], str]) -> None:
        self.pod = pod
        self._setting = setting
        self._report = report
        self._now = now
        self._containers: tuple[ContainerProcess, ...] = ()
        self._conditions: tuple[Condition, ...] = ()
        self._start_time = ""
        self._reported: PodStatus | None = None
        self._reporting = asyncio.Lock()
        self._stopping = False
        self._ended = asyncio.Event()
        self._running = False

    @property
    def status(self) -> PodStatus:
        """The status reported last."""
        return self._reported or PodStatus()

    def log_of(self, container: str) -> LogFile:
        """Give the log of a container."""
        several = len(self.pod.spec.containers) > 1
        name = f"{self.pod.metadata.name}.{container}" if several else self.pod.metadata.name
        return LogFile(self._setting.logs / f"{name}.log", self._setting.max_log_bytes)

    async def run(self) -> None:
        """Run until `stop`; when cancelled, kill. May be called once."""
        if self._stopping:
            return
        self._running = True
        self._start_time = self._now()
        connector = aiohttp.TCPConnector(force_close=True)
        try:
            async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
                self._containers = tuple(self._container(each, session) for each in self.pod.spec.containers)
                await self._publish()
                for container in self._containers:
                    group.create_task(container.run())
        finally:
            self._ended.set()

    async def stop(self, grace_s: float | None = None) -> None:
        """End it: unready first, then SIGTERM, after the grace (the pod's own by default) SIGKILL. May be repeated."""
        self._stopping = True
        if not self._running:
            return
        for container in self._containers:
            container.begin_stop()
        await self._publish()
        grace_s = self._grace_s if grace_s is None else grace_s
        await asyncio.gather(*(container.stop(grace_s) for container in self._containers))
        await self._ended.wait()

    @property
    def _grace_s(self) -> float:
        grace_s = self.pod.spec.termination_grace_period_seconds
        return GRACE_S if grace_s is None else grace_s

    def _container(self, container: Container, session: aiohttp.ClientSession) -> ContainerProcess:
        command: Command | None = None
        refusal = ""
        try:
            command = self._command(container)
        except Unresolvable as reason:
            refusal = str(reason)
        setting = ContainerSetting(
            command=command,
            refusal=refusal,
            address=self._setting.address,
            grace_s=self._grace_s,
            log=self.log_of(container.name),
            session=session,
            now=self._now,
        )
        return ContainerProcess(container, setting, self._publish)

    def _command(self, container: Container) -> Command:
        """Give the process of a container. Raises `Unresolvable`."""
        local = self._setting.commands.get(image_name(container.image))
        if local is None:
            raise Unresolvable(f"no program of this machine stands for image {container.image}")
        fields = pod_fields(self.pod, address=self._setting.address, limits=self._setting.limits)
        variables = container_variables(container.env, self._setting.variables, fields)
        variables |= {name: expand(value, variables) for name, value in local.env.items()}
        entry = tuple(expand(word, variables) for word in container.command) or local.argv
        arguments = tuple(expand(word, variables) for word in (*container.args, *local.extra_args))
        return Command(argv=(*entry, *arguments), env={**self._setting.inherited, **variables})

    async def _publish(self) -> None:
        async with self._reporting:
            status = self._status_now()
            if status != self._reported:
                self._conditions = status.conditions
                await self._report(status)
                self._reported = status

    def _status_now(self) -> PodStatus:
        statuses = tuple(container.status for container in self._containers)
        names = [each.name for each in statuses]
        reasons = [
            f"container {name}: {container.why}"
            for name, container, status in zip(names, self._containers, statuses, strict=True)
            if not status.ready
        ]
        ready = not reasons
        message = "all containers are ready" if ready else "; ".join(reasons)
        conditions = tuple(
            self._condition(kind, "True" if ready else "False", "Ready" if ready else "ContainersNotReady", message)
            for kind in ("ContainersReady", "Ready")
        )
        return PodStatus(
            phase=self._phase(),
            pod_ip=self._setting.address,
            conditions=conditions,
            container_statuses=statuses,
            start_time=self._start_time,
        )

    def _phase(self) -> str:
        states = [container.status.state for container in self._containers]
        if self._stopping and all("terminated" in state for state in states):
            return "Succeeded" if all(state["terminated"]["exitCode"] == 0 for state in states) else "Failed"
        begun = all("running" in c.status.state or c.status.last_state for c in self._containers)
        return "Running" if begun else "Pending"

    def _condition(self, kind: str, status: str, reason: str, message: str) -> Condition:
        before = next((each for each in self._conditions if each.type == kind), None)
        kept = before.last_transition_time if before is not None and before.status == status else None
        return Condition(
            type=kind, status=status, reason=reason, message=message, last_transition_time=kept or self._now()
        )


def image_name(image: str) -> str:
    """Give an image's name without digest and tag: `registry:5000/a/b:1@sha256:…` → `registry:5000/a/b`."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"
