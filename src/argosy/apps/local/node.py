"""The node: Pods of the store as processes of this machine.

Rules of this file:

- A pod is known by its uid. One that is to go is stopped, and deleted once its processes have ended. One that is gone
  from the store, or there under another uid, is stopped too; its successor of the same name starts when its processes
  have ended, since both have one address.
- Statuses go to the store as they change; a pod that is gone from it needs none.
"""

import asyncio
import math
import os
from collections.abc import Callable, Iterable, Mapping

import msgspec

from argosy.api.kubernetes import Deployment, Pod, PodSpec, PodStatus, Service
from argosy.api.names import ENGINE_LABEL, ENGINE_PORT, KV_PORT, METRICS_PORT, PICKER_PORT, SERVICE_LABEL, XDS_PORT
from argosy.api.objects import Condition, Key
from argosy.api.quantity import quantity
from argosy.apps.local.deployments import NODE
from argosy.apps.local.discovery import service_variables
from argosy.apps.local.state import StateDirectory, disk_error
from argosy.decide.translation.infrastructure import ADMIN_PORT
from argosy.edge.kube.port import NotFound, ObjectStore
from argosy.edge.processes.addresses import LoopbackAddresses, NoAddress, bindable, candidates
from argosy.edge.processes.pods import LocalCommand, PodProcess, PodSetting

POD_PORTS = (ENGINE_PORT, KV_PORT, XDS_PORT, PICKER_PORT, METRICS_PORT, ADMIN_PORT)
"""Ports that pods listen on: an address is free when nobody holds any of them, on that address or on all."""
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "OPENBLAS_CORETYPE")
"""Variables of the supervisor that its processes get too; no other leaves it, so that no secret does."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What pods are run with: the instance's files, the commands that stand for images, our environment."""

    state: StateDirectory
    commands: Mapping[str, LocalCommand]
    environment: Mapping[str, str]


class Node:
    """Runs the pods that are meant for this machine, as tasks of `group`. `woken` is called when a pod has ended."""

    def __init__(
        self,
        store: ObjectStore,
        machine: Machine,
        group: asyncio.TaskGroup,
        *,
        now: Callable[[], str],
        woken: Callable[[], None],
    ) -> None:
        self._group = group
        self._store = store
        self._state = state = machine.state
        self._commands = machine.commands
        self._now = now
        self._woken = woken
        self._inherited = {name: machine.environment[name] for name in INHERITED if name in machine.environment}
        self._addresses = LoopbackAddresses(str(state.root), lambda address: bindable(address, POD_PORTS))
        self._pods: dict[Key, PodProcess] = {}
        self._stopping: dict[Key, asyncio.Task[None]] = {}
        self._waiting: set[Key] = set()

    def address_of(self, pod: Key) -> str:
        """Give the address of a pod, which it has before it exists. Raises `NoAddress`."""
        return self._addresses.of(str(pod))

    async def sync(
        self, pods: Iterable[Pod], services: tuple[Service, ...], deployments: tuple[Deployment, ...], *, share: int
    ) -> bool:
        """Start and stop processes so that they are the store's pods; say whether one is left to be tried again.

        `share` is `cpu_share`'s.
        """
        wanted = await self._stop_others([pod for pod in pods if pod.spec.node_name == NODE])
        self._waiting &= wanted.keys()
        left_off = False
        for key, pod in wanted.items():
            if key in self._stopping:
                if key not in self._waiting:
                    self._waiting.add(key)
                    await self._report(pod, waiting("Waiting", "the process before it at this address still ends"))
            elif key not in self._pods:
                self._waiting.discard(key)
                try:
                    variables = service_variables(key.namespace, services, deployments, self.address_of)
                    self._start(pod, self.address_of(key), variables, share)
                except NoAddress as error:
                    left_off = True
                    await self._report(pod, waiting("NoAddress", str(error)))
                except OSError as error:
                    left_off = True
                    await self._report(pod, waiting("NoLog", str(disk_error(self._state.logs, error))))
        return left_off

    async def _stop_others(self, mine: Iterable[Pod]) -> dict[Key, Pod]:
        """Stop what is not to run, and delete what is to go and does not run; give the pods that are to run."""
        wanted = {pod.key: pod for pod in mine if pod.metadata.deletion_timestamp is None}
        for key, process in list(self._pods.items()):
            pod = wanted.get(key)
            if pod is None or pod.metadata.uid != process.pod.metadata.uid:
                self._begin_stop(key)
        for pod in mine:
            if pod.key not in wanted and pod.key not in self._stopping:
                await self._store.delete(Pod, pod.key, uid=pod.metadata.uid)
        return wanted

    async def stop_all(self) -> None:
        """Stop every pod: workers of services first, so that answers finish through what stands before them."""
        workers = [key for key, process in self._pods.items() if SERVICE_LABEL in process.pod.metadata.labels]
        for keys in (workers, None):
            for key in list(self._pods) if keys is None else keys:
                self._begin_stop(key)
            if self._stopping:
                await asyncio.wait(self._stopping.values())

    def _start(self, pod: Pod, address: str, variables: Mapping[str, str], share: int) -> None:
        setting = PodSetting(
            address=address,
            commands=self._commands,
            inherited={**self._inherited, "ARGOSY_INSTANCE": str(self._state.root)},
            variables=variables,
            limits={"cpu": str(cpu_limit(pod.spec, share))},
            logs=self._state.logs_of(pod.key.namespace),
        )

        async def report(status: PodStatus) -> None:
            await self._report(pod, status)

        process = PodProcess(pod, setting, report=report, now=self._now)
        self._pods[pod.key] = process
        self._group.create_task(process.run(), name=f"pod {pod.key}")

    def _begin_stop(self, key: Key) -> None:
        process = self._pods.pop(key)

        async def stop() -> None:
            try:
                await process.stop()
                await self._store.delete(Pod, key, uid=process.pod.metadata.uid)
            finally:
                del self._stopping[key]
                self._woken()

        self._stopping[key] = self._group.create_task(stop(), name=f"stop {key}")

    async def _report(self, pod: Pod, status: PodStatus) -> None:
        try:
            await self._store.write_status(msgspec.structs.replace(pod, status=status))
        except NotFound:
            return


def taken_port(state: StateDirectory) -> int | None:
    """Give a port of pods that some program holds on all addresses, so that no pod could listen there, or None."""
    tried = list(candidates(str(state.root), "probe"))
    return next((port for port in POD_PORTS if not any(bindable(address, (port,)) for address in tried)), None)


def cpu_share(deployments: Iterable[Deployment]) -> int:
    """Give the CPUs that each engine may use: those of this process, divided among all engine pods, at least one."""
    engines = sum(d.spec.replicas for d in deployments if ENGINE_LABEL in d.spec.template.metadata.labels)
    return max(1, len(os.sched_getaffinity(0)) // max(1, engines))


def cpu_limit(spec: PodSpec, share: int) -> int:
    """Give the CPUs of a pod: its limit, but no more than its share; 0 where it has none, and takes what it gets."""
    limits = [c.resources.limits.get("cpu") for c in spec.containers if c.resources is not None]
    given = [math.ceil(quantity(limit)) for limit in limits if limit is not None]
    return min(share, *given) if given else 0


def waiting(reason: str, message: str) -> PodStatus:
    """Give the status of a pod that has no process yet, and why."""
    return PodStatus(
        phase="Pending",
        message=message,
        conditions=(Condition(type="Ready", status="False", reason=reason, message=message),),
    )
