import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from argosy.api.containers import Container
from argosy.api.kubernetes import Pod, PodSpec, PodStatus
from argosy.api.objects import ObjectMeta
from argosy.edge.processes.pods import LocalCommand, PodProcess, PodSetting
from harness.waiting import until


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a file system of 64 KiB in memory, with given options."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ("mount", "-t", "tmpfs", "-o", f"size=64k{options}", "argosy-test", str(folder))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a small file system needs the right to mount one: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    if os.geteuid() != 0:
        pytest.skip("a small file system needs root")
    yield mount
    for folder in mounted:
        subprocess.run(("umount", str(folder)), check=True)  # noqa: S607 (where it stands differs between systems)


async def says(logs: Path, sentence: str) -> None:
    """Run a pod that writes, until its status says the sentence."""
    said: list[str] = []

    async def report(status: PodStatus) -> None:
        said.append(status.conditions[1].message)

    container = Container(name="c", image="child", args=("-c", "print('x' * 100_000, flush=True)"))
    pod = PodProcess(
        Pod(metadata=ObjectMeta(name="pod", namespace="x"), spec=PodSpec(containers=(container,))),
        PodSetting(address="127.1.2.3", commands={"child": LocalCommand(argv=(sys.executable,))}, logs=logs),
        report=report,
        now=lambda: "2026-01-01T00:00:00Z",
    )
    task = asyncio.create_task(pod.run())
    try:
        await until(lambda: said and sentence in said[-1])
    finally:
        await pod.stop()
        await task


async def test_a_log_that_cannot_be_made_is_said_in_the_status(small_disk: Callable[[str], Path]) -> None:
    await says(small_disk(",nr_inodes=1"), "pod.log: the disk is full")


async def test_a_disk_that_fills_up_under_a_child_is_said_in_the_status(small_disk: Callable[[str], Path]) -> None:
    await says(small_disk(""), "pod.log is full")
