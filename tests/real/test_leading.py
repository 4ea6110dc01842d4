"""Two processes, one Lease, a real API server: who writes when the leader is stopped, resumed or ended."""

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from argosy.api.coordination import Lease
from argosy.api.kubernetes import ConfigMap
from argosy.api.objects import Key
from argosy.decide.planning.access import APPLY
from argosy.edge.kube.api_server import KubernetesStore
from argosy.edge.kube.connection import settings_in_cluster
from argosy.edge.kube.lease import Leadership
from argosy.edge.processes import launcher
from harness import candidate
from harness.control_plane import API_ADDRESS, API_PORT, ControlPlane
from harness.waiting import until


class Candidate:
    def __init__(self, process: subprocess.Popen[bytes], notes: Path) -> None:
        self.process = process
        self._notes = notes

    def refused(self) -> int:
        return self._lines().count("refused")

    @property
    def is_ready(self) -> bool:
        return "ready" in self._lines()

    def _lines(self) -> list[str]:
        return self._notes.read_text().splitlines() if self._notes.exists() else []


@pytest.fixture
def candidates(cluster: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[dict[str, Candidate]]:
    running = {}
    for name in ("a", "b"):
        notes = tmp_path / name
        own = (candidate.__file__, str(cluster.kubeconfig), namespace, name, str(notes))
        tied = (sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), "--")
        running[name] = Candidate(subprocess.Popen((*tied, sys.executable, *own)), notes)
    try:
        yield running
    finally:
        for each in running.values():
            each.process.kill()
            each.process.wait()


@pytest.fixture
async def writers(store: KubernetesStore, namespace: str) -> AsyncIterator[list[str]]:
    """Who has written, each write of all."""
    seen: list[str] = []

    async def note(since: str) -> None:
        while True:
            events: Any = store.watch(ConfigMap, since=since, namespace=namespace)
            async with contextlib.aclosing(events):
                async for event in events:
                    since = event.object.metadata.resource_version
                    if event.object.metadata.name == candidate.WRITTEN:
                        seen.append(event.object.data["by"])

    since = (await store.list(ConfigMap, namespace=namespace)).resource_version
    task = asyncio.create_task(note(since))
    yield seen
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def stopped_and_resumed(leader: Candidate, follower: str, writers: list[str]) -> None:
    """Stop the leader until another writes, and resume it until it has tried to write and the other has again."""
    leader.process.send_signal(signal.SIGSTOP)
    await until(lambda: writers[-20:] == 20 * [follower])
    refused = leader.refused()
    leader.process.send_signal(signal.SIGCONT)
    await until(lambda: leader.refused() > refused + 20)
    count = len(writers)
    await until(lambda: len(writers) > count + 20)


async def test_a_leader_that_was_stopped_past_its_lease_writes_nothing_when_it_is_resumed(
    candidates: dict[str, Candidate], writers: list[str]
) -> None:
    await until(lambda: all(each.is_ready for each in candidates.values()))
    await until(lambda: len(writers) > 20)
    turns = [writers[-1]]
    for _ in range(3):
        turns.append("b" if turns[-1] == "a" else "a")
        await stopped_and_resumed(candidates[turns[-2]], turns[-1], writers)
    assert [who for who, _ in itertools.groupby(writers)] == turns


async def test_a_leader_that_ends_in_order_is_followed_before_its_lease_would_have_run_out(
    store: KubernetesStore, candidates: dict[str, Candidate], writers: list[str], namespace: str
) -> None:
    await until(lambda: all(each.is_ready for each in candidates.values()))
    await until(lambda: len(writers) > 20)
    first = writers[-1]
    candidates[first].process.terminate()
    candidates[first].process.wait(10)
    begun_s = time.monotonic()
    await until(lambda: writers[-1] != first)
    assert time.monotonic() - begun_s < candidate.TIMES.duration_s - candidate.TIMES.retry_s
    assert len(list(itertools.groupby(writers))) == 2
    lease = await store.get(Lease, Key(namespace, candidate.LEASE))
    assert lease is not None
    assert lease.spec.lease_transitions == 1


async def test_rights_to_one_lease_by_its_name_are_enough(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    inside = f"--namespace={namespace}"
    cluster.kubectl("create", "serviceaccount", "leader", inside)
    verbs = [f"--verb={verb}" for verb in APPLY]
    cluster.kubectl("create", "role", "lead", *verbs, "--resource=leases", "--resource-name=mine", inside)
    cluster.kubectl("create", "rolebinding", "lead", "--role=lead", f"--serviceaccount={namespace}:leader", inside)
    (tmp_path / "ca.crt").write_bytes(cluster.certificate.read_bytes())
    (tmp_path / "token").write_text(cluster.kubectl("create", "token", "leader", inside))
    settings = settings_in_cluster(host=API_ADDRESS, port=str(API_PORT), account=tmp_path)
    async with KubernetesStore(settings) as store:
        for name in ("a", "b"):
            async with Leadership(store, Key(namespace, "mine"), name, now=candidate.now) as leadership:
                await asyncio.wait_for(leadership.won(), 20)
        lease = await store.get(Lease, Key(namespace, "mine"))
        assert lease is not None
        assert not lease.spec.holder_identity
        assert lease.spec.lease_transitions == 1
