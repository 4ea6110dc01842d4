"""One Pod as processes of this machine.

    pod = PodProcess(obj, setting, report=write_it, now=rfc3339_now)
    task = group.create_task(pod.run())     # cancelling it kills the pod's processes
    await pod.stop()                        # unready, SIGTERM, grace, SIGKILL; `run` has returned then

Rules of this file:

- A pod gets an address and the resolved commands; which address, which commands and which variables is the caller's.
- Init containers run one after another, before the others. One that restarts always is a sidecar: it is waited for
  until it has started, runs beside the others, and ends after them.
- Every change is reported, in order, and none twice; `report` must not raise. Being unready is reported before
  SIGTERM is sent.
- What cannot be run (an unknown image, a variable without a source) is a waiting container with a sentence.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp
import msgspec

from argosy.api.containers import Container
from argosy.api.kubernetes import Pod, PodStatus
from argosy.api.objects import Condition
from argosy.edge.processes.container import ContainerProcess
from argosy.edge.processes.enclosure import OPEN, Enclosure
from argosy.edge.processes.ends import ALWAYS, ON_FAILURE
from argosy.edge.processes.environment import Keys, Unresolvable, container_variables, expand, pod_fields
from argosy.edge.processes.logfile import MAX_BYTES, LogFile
from argosy.edge.processes.pod_status import phase, readiness
from argosy.edge.processes.process import Command
from argosy.edge.processes.setting import ContainerSetting, Conventions, Refusal

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
    conventions: Conventions = Conventions()
    places: Mapping[str, "Place"] = {}
    """What is particular to a container, by its name."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What is particular to one container on a node of a cluster."""

    enclosure: Enclosure = OPEN
    refusal: Refusal | None = None
    """Why it may not run here."""
    inherited: Mapping[str, str] = {}
    """Over what every process of the pod gets."""
    fields: Mapping[str, str] = {}
    """Values by path, over those of the pod."""
    keys: Keys = Keys()
    restarts: int = 0


_ANYWHERE = Place()


class PodProcess:
    """Runs one pod until it is stopped. `now` gives the time as RFC 3339."""

    def __init__(self, pod: Pod, setting: PodSetting, *, report: Report, now: Callable[[], str]) -> None:
        self.pod = pod
        self._setting = setting
        self._report = report
        self._now = now
        self._containers: tuple[ContainerProcess, ...] = ()
        self._inits: tuple[ContainerProcess, ...] = ()
        self._conditions: tuple[Condition, ...] = ()
        self._start_time = ""
        self._reported: PodStatus | None = None
        self._reporting = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._running = False

    @property
    def status(self) -> PodStatus:
        """The status reported last."""
        return self._reported or PodStatus()

    def log_of(self, container: str) -> LogFile:
        """Give the log of a container."""
        several = len(self.pod.spec.containers) + len(self.pod.spec.init_containers) > 1
        name = f"{self.pod.metadata.name}.{container}" if several else self.pod.metadata.name
        return LogFile(self._setting.logs / f"{name}.log", self._setting.max_log_bytes)

    def container(self, name: str) -> ContainerProcess | None:
        """Give a container by its name, once the pod runs."""
        return next((each for each in (*self._inits, *self._containers) if each.container.name == name), None)

    async def run(self) -> None:
        """Run until `stop`, or until its containers have ended for good; when cancelled, kill. May be called once."""
        if self._stopping.is_set():
            return
        self._running = True
        self._start_time = self._now()
        connector = aiohttp.TCPConnector(force_close=True)
        try:
            async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
                policy = self.pod.spec.restart_policy or ALWAYS
                once = ON_FAILURE if policy == ALWAYS else policy
                spec = self.pod.spec
                self._inits = tuple(self._made(c, session, c.restart_policy or once) for c in spec.init_containers)
                self._containers = tuple(self._made(c, session, policy) for c in spec.containers)
                await self._publish()
                if await self._initialize(group):
                    await asyncio.wait([group.create_task(container.run()) for container in self._containers])
                await self._stop_sidecars(self._grace_s)
        finally:
            self._ended.set()

    async def stop(self, grace_s: float | None = None) -> None:
        """End it: unready first, then SIGTERM, after the grace (the pod's own by default) SIGKILL. May be repeated."""
        self._stopping.set()
        if not self._running:
            return
        grace_s = self._grace_s if grace_s is None else grace_s
        first = [each for each in (*self._inits, *self._containers) if not _is_sidecar(each)]
        for container in first:
            container.begin_stop()
        await self._publish()
        begun = asyncio.get_running_loop().time()
        await asyncio.gather(*(container.stop(grace_s) for container in first))
        await self._stop_sidecars(grace_s - (asyncio.get_running_loop().time() - begun))
        await self._ended.wait()

    async def _initialize(self, group: asyncio.TaskGroup) -> bool:
        """Run what comes before the containers; say whether they may start."""
        for container in self._inits:
            if self._stopping.is_set():
                return False
            task = group.create_task(container.run())
            if not _is_sidecar(container):
                await asyncio.wait({task})
                if not container.succeeded:
                    return False
                continue
            waits = [asyncio.ensure_future(event.wait()) for event in (container.first_start, self._stopping)]
            await asyncio.wait({task, *waits}, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        return not self._stopping.is_set()

    async def _stop_sidecars(self, grace_s: float) -> None:
        """End sidecars, the last one first; all share the grace."""
        loop = asyncio.get_running_loop()
        end = loop.time() + grace_s
        for container in reversed(self._inits):
            if _is_sidecar(container):
                await container.stop(max(0.0, end - loop.time()))

    @property
    def _grace_s(self) -> float:
        grace_s = self.pod.spec.termination_grace_period_seconds
        return GRACE_S if grace_s is None else grace_s

    def _made(self, container: Container, session: aiohttp.ClientSession, policy: str) -> ContainerProcess:
        place = self._setting.places.get(container.name, _ANYWHERE)
        command: Command | Refusal
        try:
            command = place.refusal or self._command(container, place)
        except Unresolvable as reason:
            command = Refusal(why=str(reason))
        setting = ContainerSetting(
            command=command,
            address=self._setting.address,
            grace_s=self._grace_s,
            log=self.log_of(container.name),
            session=session,
            now=self._now,
            restart_policy=policy,
            restarts=place.restarts,
            enclosure=place.enclosure,
            conventions=self._setting.conventions,
        )
        return ContainerProcess(container, setting, self._publish)

    def _command(self, container: Container, place: Place) -> Command:
        """Give the process of a container. Raises `Unresolvable`."""
        local = self._setting.commands.get(image_name(container.image))
        if local is None:
            raise Unresolvable(f"no program of this machine stands for image {container.image}")
        fields = {**pod_fields(self.pod, address=self._setting.address, limits=self._setting.limits), **place.fields}
        given = self._setting.variables
        variables = container_variables(container.env, given, fields, env_from=container.env_from, keys=place.keys)
        variables |= {name: expand(value, variables) for name, value in local.env.items()}
        entry = tuple(expand(word, variables) for word in container.command) or local.argv
        arguments = tuple(expand(word, variables) for word in (*container.args, *local.extra_args))
        return Command(argv=(*entry, *arguments), env={**self._setting.inherited, **place.inherited, **variables})

    async def _publish(self) -> None:
        async with self._reporting:
            status = self._status_now()
            if status != self._reported:
                self._conditions = status.conditions
                await self._report(status)
                self._reported = status

    def _status_now(self) -> PodStatus:
        beside = [each for each in self._inits if _is_sidecar(each)]
        ready, message = readiness([(each.status, each.why) for each in (*beside, *self._containers)])
        conditions = tuple(
            self._condition(kind, "True" if ready else "False", "Ready" if ready else "ContainersNotReady", message)
            for kind in ("ContainersReady", "Ready")
        )
        once = [each for each in self._inits if not _is_sidecar(each)]
        return PodStatus(
            phase=phase(once, self._containers),
            pod_ip=self._setting.address,
            conditions=conditions,
            init_container_statuses=tuple(each.status for each in self._inits),
            container_statuses=tuple(each.status for each in self._containers),
            start_time=self._start_time,
        )

    def _condition(self, kind: str, status: str, reason: str, message: str) -> Condition:
        before = next((each for each in self._conditions if each.type == kind), None)
        kept = before.last_transition_time if before is not None and before.status == status else None
        return Condition(
            type=kind, status=status, reason=reason, message=message, last_transition_time=kept or self._now()
        )


def _is_sidecar(process: ContainerProcess) -> bool:
    return process.container.restart_policy == ALWAYS


def image_name(image: str) -> str:
    """Give an image's name without digest and tag: `registry:5000/a/b:1@sha256:…` → `registry:5000/a/b`."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"
