"""`argosy envoy`: what runs Envoy in a pod, and ends it without cutting an answer."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from harness.dataplane import Backend, DataPlane, data_plane
from harness.waiting import until

BODY = {"model": "m"}


def runner(plane: DataPlane, *, accept_s: int = 0, drain_s: int = 60) -> tuple[str, ...]:
    options = ("--admin", str(plane.admin), "--accept", str(accept_s), "--drain-timeout", str(drain_s))
    return (sys.executable, "-m", "argosy", "envoy", *options, "--")


@contextlib.asynccontextmanager
async def running(folder: Path, *, accept_s: int = 0, drain_s: int = 60) -> AsyncIterator[tuple[DataPlane, Backend]]:
    """A data plane whose Envoy `argosy envoy` runs, and a backend of it that holds its answers until told."""
    async with data_plane(folder) as plane:
        await plane.stop_envoy()
        plane.envoy.program = runner(plane, accept_s=accept_s, drain_s=drain_s)
        await plane.start_envoy()
        backend = await plane.add_backend("m")
        await plane.publish_model("m")
        await plane.programmed()
        yield plane, backend


class Held:
    """Makes a backend begin its answers and end them when released."""

    def __init__(self, backend: Backend) -> None:
        self.begun = asyncio.Event()
        self.released = asyncio.Event()
        backend.behave = self._answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"begun ")
        self.begun.set()
        await self.released.wait()
        await answer.write(b"ended")
        await answer.write_eof()
        return answer


def process_of(plane: DataPlane) -> asyncio.subprocess.Process:
    assert plane.envoy.process is not None
    return plane.envoy.process


async def ask(plane: DataPlane) -> str:
    async with plane.client() as client, client.post("/v1/completions", json=BODY) as answer:
        assert answer.status == 200
        return await answer.text()


async def test_a_running_answer_is_finished_and_then_envoy_ends(tmp_path: Path) -> None:
    async with running(tmp_path) as (plane, backend):
        held, process = Held(backend), process_of(plane)
        asking = asyncio.ensure_future(ask(plane))
        await held.begun.wait()
        process.send_signal(signal.SIGTERM)
        await until(lambda: not_ready(plane))
        assert process.returncode is None
        held.released.set()
        assert await asking == "begun ended"
        assert await asyncio.wait_for(process.wait(), 5) == 0


async def not_ready(plane: DataPlane) -> bool:
    return not await plane.envoy.is_ready()


async def test_connections_are_taken_for_a_while_and_asked_to_close(tmp_path: Path) -> None:
    async with running(tmp_path, accept_s=3) as (plane, _):
        async with plane.client() as client:
            async with client.post("/v1/completions", json=BODY) as before:
                assert "connection" not in before.headers
            process_of(plane).send_signal(signal.SIGTERM)
            await until(lambda: not_ready(plane))
            async with client.post("/v1/completions", json=BODY) as on_the_old_one:
                assert on_the_old_one.headers["connection"] == "close"
            async with client.post("/v1/completions", json=BODY) as on_a_new_one:
                assert on_a_new_one.status == 200
        assert await asyncio.wait_for(process_of(plane).wait(), 10) == 0


async def test_it_goes_on_for_as_long_as_requests_come(tmp_path: Path) -> None:
    async with running(tmp_path, accept_s=1) as (plane, backend):
        process_of(plane).send_signal(signal.SIGTERM)
        await until(lambda: not_ready(plane))
        # More than are asked within the second, each on a connection of its own.
        while len(backend.requests) < 400:
            assert await ask(plane)
        assert process_of(plane).returncode is None
        assert await asyncio.wait_for(process_of(plane).wait(), 10) == 0


async def test_an_answer_without_end_is_cut_when_its_time_is_over(tmp_path: Path) -> None:
    async with running(tmp_path, drain_s=1) as (plane, backend):
        held = Held(backend)
        asking = asyncio.ensure_future(ask(plane))
        await held.begun.wait()
        process_of(plane).send_signal(signal.SIGTERM)
        with pytest.raises(aiohttp.ClientError):
            await asking
        assert await asyncio.wait_for(process_of(plane).wait(), 5) == 0
        held.released.set()


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, accept_s=50) as (plane, _):
        process_of(plane).send_signal(signal.SIGTERM)
        await until(lambda: not_ready(plane))
        process_of(plane).send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process_of(plane).wait(), 5) == 0


async def test_it_ends_as_envoy_ends_and_envoy_with_it(tmp_path: Path) -> None:
    async with running(tmp_path) as (plane, _):
        os.kill(child_of(process_of(plane).pid), signal.SIGKILL)
        assert await asyncio.wait_for(process_of(plane).wait(), 5) == 128 + signal.SIGKILL
        await plane.start_envoy()
        envoy = child_of(process_of(plane).pid)
        process_of(plane).kill()
        await until(lambda: not Path(f"/proc/{envoy}").exists())


async def test_arguments_that_envoy_refuses_end_it_with_envoys_code(tmp_path: Path) -> None:
    async with data_plane(tmp_path) as plane:
        command = (*runner(plane), "--no-such-option")
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        _, words = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 1
        assert b"--no-such-option" in words


async def test_it_costs_little_memory(tmp_path: Path) -> None:
    async with running(tmp_path) as (plane, _):
        assert resident_kib(process_of(plane).pid) < 15_000


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
