"""A split service, with real weights, under load, while its parts are killed and what moves between them is damaged.

Never a wrong text, never a hang, and lost is only what had begun to come from a killed decode worker.
"""

import asyncio
import contextlib
import itertools
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from argosy.api.names import DECISIONS_PATH, METRICS_PORT
from harness.kv import FAILED, HELD, NOT_HELD, measured, moved_tokens
from harness.laptop import ROOT, Laptop, laptop
from harness.split import (
    Clients,
    asking,
    everything_is_ready,
    is_told_to_end,
    memory,
    pulls,
    stopped,
    waiting_states,
    workers,
)
from harness.waiting import until

pytestmark = pytest.mark.timeout(240)
CLIENTS = 4
TIMES = 6
"""How often a prompt has its line: some 80 tokens in all."""
LONG = 60
"""Tokens of answers that are likely to be in their middle."""
ROUNDS = 2
STILL_S = 5
"""A worker that stands still for longer is no longer ready."""
RUNNING = "vllm:num_requests_running"
LEGS = "argosy_prefill_legs_under_way"
MOUNT = 'mount -t tmpfs -o size=400m own /dev/shm && exec "$@"'
OWN_MEMORY = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh")
"""A program's words: it and its children have memory files of their own, and room for what engines want."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service that splits nearly all requests."""
    path = tmp_path_factory.mktemp("f") / "split.yaml"
    text = (ROOT / "examples" / "disaggregated.yaml").read_text()
    path.write_text(text.replace("thresholdTokens: 128", "thresholdTokens: 8"))
    return path


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory, file: Path) -> Iterator[Laptop]:
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    with laptop(tmp_path_factory.mktemp("s"), file, within=OWN_MEMORY) as running:
        yield running


class Worker:
    """A process of the service."""

    def __init__(self, said: dict[str, Any], port: int | None = None) -> None:
        self.name: str = said["name"]
        self.pid: int = said["pid"]
        self.endpoint: str = said["address"] if port is None else f"{said['address']}:{port}"
        self.address = self.endpoint.partition(":")[0]

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    async def has(self, name: str, **labels: str) -> float:
        return await asyncio.to_thread(measured, self.endpoint, name, **labels)


class Service:
    """The processes as they are when all are ready."""

    def __init__(self, instance: Laptop) -> None:
        status = instance.wait_until(everything_is_ready, timeout=60)
        replicas = status["services"][0]["replicas"]
        self.prefills = [Worker(each) for each in replicas if each["role"] == "prefill"]
        self.decodes = [Worker(each) for each in replicas if each["role"] == "decode"]
        self.picker = next(Worker(each, METRICS_PORT) for each in status["components"] if each["name"] == "picker")
        # What a client left behind that went away earlier is nobody's.
        self._before = set().union(*(waiting_states(each.pid, for_s=0) for each in self.prefills))

    @contextlib.asynccontextmanager
    async def between_the_legs(self, clients: Clients) -> AsyncIterator["Held"]:
        """While the block lasts a decode worker stands still, and states wait for it at a prefill worker."""
        for receiver in itertools.cycle(self.decodes):
            with stopped(receiver.pid), contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STILL_S) as limit:
                    held = await until(lambda receiver=receiver: self._held(receiver))
                    limit.reschedule(None)
                    yield held
                    return
            await clients.more(1)  # there was no leg of a request for it

    @contextlib.asynccontextmanager
    async def during_a_pull(self, clients: Clients) -> AsyncIterator[tuple[Worker, Worker]]:
        """While the block lasts a prefill worker stands still, and a decode worker pulls from it; gives both."""
        while True:
            async with self.between_the_legs(clients) as held:
                os.kill(held.holder.pid, signal.SIGSTOP)
            try:
                with contextlib.suppress(AssertionError):
                    await until(lambda held=held: self._pulling(held.holder), within_s=2)
                if receiver := self._pulling(held.holder):
                    yield held.holder, receiver
                    return
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(held.holder.pid, signal.SIGCONT)

    def _pulling(self, holder: Worker) -> Worker | None:
        return next((each for each in self.decodes if pulls(each.pid, holder.address)), None)

    async def answering(self, worker: Worker) -> set[str]:
        """Give the requests, of the latest, whose answers this worker has begun and not ended."""
        decided = await self.decided()
        return {each["request"] for each in decided if each["served"] == worker.endpoint and each["took_s"] is None}

    async def decided(self) -> list[dict[str, Any]]:
        """Give what the picker has decided of the latest requests."""
        url = f"http://{self.picker.endpoint}{DECISIONS_PATH}"
        async with aiohttp.ClientSession() as client, client.get(url) as page:
            decided: list[dict[str, Any]] = await page.json(content_type=None)
            return decided

    async def failed_pulls(self) -> float:
        return sum([await each.has(FAILED) for each in self.decodes])

    async def more_failed_pulls(self, than: float) -> bool:
        return await self.failed_pulls() > than

    def _held(self, receiver: Worker) -> "Held | None":
        holders = ((each, waiting_states(each.pid) - self._before) for each in self.prefills)
        return next((Held(receiver, each, states) for each, states in holders if states), None)

    async def is_idle(self) -> bool:
        """Whether no engine has a request."""
        return not any([await each.has(RUNNING) for each in (*self.prefills, *self.decodes)])

    async def broken_legs(self) -> float:
        name = "argosy_prefill_legs_total"
        return await self.picker.has(name) - await self.picker.has(name, outcome="done")


class Held(NamedTuple):
    """States that should long have been pulled."""

    receiver: Worker
    holder: Worker
    states: set[Path]


Stage = Callable[[Service, Clients], Awaitable[None]]


async def prefill_while_it_computes(service: Service, _clients: Clients) -> None:
    (victim, _) = service.prefills
    broken = await service.broken_legs()
    await until(lambda: victim.has(RUNNING))
    with stopped(*(each.pid for each in service.prefills)):
        await until(lambda: _more(service.picker, LEGS, CLIENTS - 1))
        victim.kill()

    async def breaks() -> bool:
        return await service.broken_legs() > broken

    await until(breaks)


async def prefill_between_the_legs(service: Service, clients: Clients) -> None:
    failed = await service.failed_pulls()
    async with service.between_the_legs(clients) as held:
        held.holder.kill()
    await until(lambda: service.more_failed_pulls(failed))


async def prefill_during_the_pull(service: Service, clients: Clients) -> None:
    failed = await service.failed_pulls()
    async with service.during_a_pull(clients) as (holder, _):
        holder.kill()
    await until(lambda: service.more_failed_pulls(failed))


async def decode_during_the_legs(service: Service, clients: Clients) -> None:
    with stopped(*(each.pid for each in service.prefills)):
        await until(lambda: _more(service.picker, LEGS, CLIENTS - 1))
        service.decodes[0].kill()
    await clients.more(CLIENTS)
    assert clients.cut == []


async def decode_between_the_legs(service: Service, clients: Clients) -> None:
    async with service.between_the_legs(clients) as held:
        held.receiver.kill()


async def decode_during_the_pull(service: Service, clients: Clients) -> None:
    async with service.during_a_pull(clients) as (_, receiver):
        receiver.kill()


async def decode_while_it_answers(service: Service, clients: Clients) -> None:
    await until(lambda: clients.streaming >= CLIENTS // 2)
    _, victim = max([(await each.has(RUNNING), each) for each in service.decodes], key=lambda found: found[0])
    victim.kill()
    await until(lambda: clients.cut)
    served = {each["request"]: each["served"] for each in await service.decided()}
    assert {served[request] for request in clients.cut} == {victim.endpoint}


async def picker_before_it_picks(service: Service, _clients: Clients) -> None:
    with stopped(service.picker.pid):
        await until(service.is_idle)
        service.picker.kill()


async def picker_during_the_legs(service: Service, clients: Clients) -> None:
    with stopped(*(each.pid for each in service.prefills)):
        await until(lambda: _more(service.picker, LEGS, CLIENTS - 1))
        service.picker.kill()
        await clients.more(CLIENTS)


async def picker_between_the_legs(service: Service, clients: Clients) -> None:
    async with service.between_the_legs(clients):
        service.picker.kill()


async def picker_while_answers_come(service: Service, clients: Clients) -> None:
    await until(lambda: clients.streaming >= CLIENTS // 2)
    service.picker.kill()
    assert clients.streaming


async def _more(worker: Worker, name: str, than: float) -> bool:
    return await worker.has(name) > than


LASTING = {decode_while_it_answers, picker_while_answers_come}
KILLS_DECODE = {decode_between_the_legs, decode_during_the_pull, decode_while_it_answers}


@pytest.mark.parametrize(
    "stage",
    [
        prefill_while_it_computes,
        prefill_between_the_legs,
        prefill_during_the_pull,
        decode_during_the_legs,
        decode_between_the_legs,
        decode_during_the_pull,
        decode_while_it_answers,
        picker_before_it_picks,
        picker_during_the_legs,
        picker_between_the_legs,
        picker_while_answers_come,
    ],
    ids=lambda stage: stage.__name__.replace("_", " "),
)
async def test_a_process_killed_at_any_stage_costs_at_most_what_had_begun_at_a_decode_worker(
    split: Laptop, stage: Stage
) -> None:
    service = await asyncio.to_thread(Service, split)
    async with asking(split, CLIENTS, times=TIMES, tokens=LONG if stage in LASTING else 12) as clients:
        await stage(service, clients)
        await clients.more(CLIENTS)
        await asyncio.to_thread(split.wait_until, everything_is_ready, timeout=60)
    await clients.check(cut=CLIENTS if stage in KILLS_DECODE else 0)


@pytest.mark.parametrize("victim", ["prefill", "decode", "picker"])
async def test_killed_at_any_moment_it_is_the_same(split: Laptop, victim: str) -> None:
    await asyncio.to_thread(split.wait_until, everything_is_ready, timeout=60)
    rng = random.Random(victim)
    async with asking(split, CLIENTS, times=18) as clients:
        for turn in range(ROUNDS):
            if victim == "picker":
                pid = await asyncio.to_thread(split.pid, "picker")
            else:
                pid = (await asyncio.to_thread(workers, split, victim))[turn % 2]["pid"]
            await asyncio.sleep(rng.uniform(0.2, 1.5))  # any moment will do, and another each time
            os.kill(pid, signal.SIGKILL)
            await clients.more(4)
            await asyncio.to_thread(split.wait_until, everything_is_ready, timeout=60)
    await clients.check(cut=CLIENTS * ROUNDS if victim == "decode" else 0)


async def test_prefill_workers_that_stand_still_are_not_waited_for(split: Laptop) -> None:
    service = await asyncio.to_thread(Service, split)
    lost = await service.picker.has("argosy_prefill_legs_total", outcome="lost")
    async with asking(split, CLIENTS, times=TIMES) as clients:
        with stopped(*(each.pid for each in service.prefills)):
            await until(lambda: _more(service.picker, LEGS, CLIENTS - 1))
            await clients.more(CLIENTS)
    await clients.check()
    assert await service.picker.has("argosy_prefill_legs_total", outcome="lost") > lost


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def corrupted(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1000, os.SEEK_END)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("damage", [truncated, corrupted], ids=lambda damage: damage.__name__)
async def test_a_damaged_state_is_computed_again(split: Laptop, damage: Callable[[Path], None]) -> None:
    service = await asyncio.to_thread(Service, split)
    failed = await service.failed_pulls()
    async with asking(split, CLIENTS, times=TIMES) as clients:
        async with service.between_the_legs(clients) as held:
            for each in held.states:
                damage(each)
        await until(lambda: service.more_failed_pulls(failed))
        await clients.more(CLIENTS)
    await clients.check()


async def test_where_memory_is_full_prompts_are_computed_where_they_are_answered_until_there_is_room(
    split: Laptop,
) -> None:
    service = await asyncio.to_thread(Service, split)
    filler = memory(service.prefills[0].pid) / "filler"
    decodes = [each.endpoint for each in service.decodes]
    async with asking(split, CLIENTS, times=TIMES) as clients:
        try:
            with filler.open("wb") as file:
                room = os.fstatvfs(file.fileno())
                os.posix_fallocate(file.fileno(), 0, room.f_bfree * room.f_frsize)
            for each in service.prefills:
                await until(lambda each=each: _more(each, NOT_HELD, 0))
            await clients.more(CLIENTS)
        finally:
            filler.unlink()
        moved = await asyncio.to_thread(moved_tokens, decodes)
        await until(lambda: asyncio.to_thread(lambda: moved_tokens(decodes) > moved))
    await clients.check()


def with_one(*, role: str, of: Path, beside: Path) -> Path:
    """Give the file of a service with one worker of a role."""
    path = beside / "one.yaml"
    path.write_text(of.read_text().replace(f"{role}:\n      replicas: 2", f"{role}:\n      replicas: 1"))
    return path


async def test_a_prefill_worker_leaves_once_its_states_have_been_pulled(
    split: Laptop, file: Path, tmp_path: Path
) -> None:
    service = await asyncio.to_thread(Service, split)
    (_, leaver) = service.prefills
    one = with_one(role="prefill", of=file, beside=tmp_path)
    async with asking(split, CLIENTS, times=TIMES) as clients:
        failed = await service.failed_pulls()
        leaving = None
        while leaving is None:
            async with service.between_the_legs(clients) as held:
                if held.holder is leaver:
                    leaving = asyncio.create_task(asyncio.to_thread(split.up, one))
                    await until(lambda: _drains(leaver))
                    assert await leaver.has(HELD) >= 1
        await leaving
        assert [each["name"] for each in await asyncio.to_thread(workers, split, "prefill")] == ["smollm2-prefill-0"]
        await clients.more(CLIENTS)
        assert await service.failed_pulls() == failed
        await asyncio.to_thread(split.up, file)
    await clients.check()


async def test_a_decode_worker_leaves_once_its_answers_have_ended(split: Laptop, file: Path, tmp_path: Path) -> None:
    service = await asyncio.to_thread(Service, split)
    (_, leaver) = service.decodes
    one = with_one(role="decode", of=file, beside=tmp_path)
    async with asking(split, CLIENTS, times=TIMES, tokens=LONG) as clients:
        leaving = None
        while leaving is None:
            await until(lambda: service.answering(leaver))
            with stopped(leaver.pid):
                if await service.answering(leaver):  # which are in their middle when it is told to end
                    leaving = asyncio.create_task(asyncio.to_thread(split.up, one))
                    await until(lambda: is_told_to_end(leaver.pid))
        await leaving
        assert [each["name"] for each in await asyncio.to_thread(workers, split, "decode")] == ["smollm2-decode-0"]
        await asyncio.to_thread(split.up, file)
    await clients.check()


async def _drains(worker: Worker) -> bool:
    async with aiohttp.ClientSession() as client, client.get(f"http://{worker.endpoint}/health") as answer:
        return bool((await answer.json())["status"] == "draining")
