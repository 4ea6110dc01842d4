"""A pod as processes of this machine, for tests of how they are supervised."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from argosy.api.containers import Container
from argosy.api.kubernetes import Pod, PodSpec, PodStatus
from argosy.api.objects import ObjectMeta
from argosy.edge.processes.addresses import LoopbackAddresses, bindable
from argosy.edge.processes.pods import LocalCommand, PodProcess, PodSetting

PORT = 8000


class Running:
    """A pod that runs, and all statuses that it has reported; `spec` are fields of its spec."""

    def __init__(self, *containers: Container, folder: Path, spec: Mapping[str, Any] = {}, **setting: Any) -> None:
        self.folder = folder
        self.address = LoopbackAddresses(str(folder), lambda address: bindable(address, (PORT,))).of("pod")
        self.statuses: list[PodStatus] = []
        pod = Pod(
            metadata=ObjectMeta(name="pod", namespace="space"),
            spec=PodSpec(containers=containers, termination_grace_period_seconds=20, **spec),
        )
        full = PodSetting(
            address=self.address,
            commands={"child": LocalCommand(argv=(sys.executable,), env={"FOLDER": str(folder)})},
            inherited={"PATH": os.environ["PATH"]},
            logs=folder,
        )
        self.pod = PodProcess(
            pod, msgspec.structs.replace(full, **setting), report=self.report, now=lambda: "2026-01-01T00:00:00Z"
        )
        self.task = asyncio.create_task(self.pod.run())

    async def report(self, status: PodStatus) -> None:
        self.statuses.append(status)

    @property
    def ready(self) -> bool:
        return bool(self.statuses) and self.statuses[-1].conditions[1].status == "True"

    @property
    def pid(self) -> int | None:
        running = self.statuses[-1].container_statuses[0].state.get("running", {}) if self.statuses else {}
        return running.get("pid")

    @property
    def restarts(self) -> int:
        return self.statuses[-1].container_statuses[0].restart_count if self.statuses else 0

    @property
    def why(self) -> str:
        return self.statuses[-1].conditions[1].message if self.statuses else ""

    async def get(self, path: str) -> str:
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.address}:{PORT}{path}") as answer:
            return await answer.text()

    async def end(self) -> None:
        await self.pod.stop(grace_s=2)
        await self.task
