"""A split service on a laptop: clients whose answers show whether they are right, and what its processes hold."""

import asyncio
import contextlib
import ipaddress
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import aiohttp

from argosy.api.names import KV_PORT
from harness.kv import greedy
from harness.laptop import Laptop
from harness.waiting import until

MODEL = "smollm2"
DEADLINE_S = 60.0
"""For one answer, whatever happens meanwhile: a leg's own time is 30 s."""
WORDS = (
    *("ship", "sea", "wind", "land", "river", "water", "stone", "road", "house", "tree", "hand", "light", "night"),
    *("day", "sun", "moon", "star", "fire", "snow", "rain", "king", "book", "door", "ball", "boat", "fish"),
)
_RNG = random.Random(0)
"""One for all tests of a process: what one has asked is cached for the next."""


def workers(instance: Laptop, role: str) -> list[dict[str, Any]]:
    return [each for each in instance.service()["replicas"] if each["role"] == role]


def sentence_of(rng: random.Random) -> str:
    """Give a line that no other request is likely to have; any model goes on with one that it has read six times.

    It has 13 tokens.
    """
    first, second, third, fourth = rng.sample(WORDS, 4)
    return f"The {first} and the {second} bring the {third} and the {fourth}.\n"


def everything_is_ready(status: dict[str, Any]) -> bool:
    replicas = status["services"][0]["replicas"]
    return len(replicas) == 4 and all(each["ready"] for each in (*status["components"], *replicas))


class Clients:
    """Clients that ask for streamed answers to prompts nobody has seen, and keep what they were told.

    A prompt has its line so many `times`, an answer so many `tokens`.
    """

    def __init__(self, instance: Laptop, *, times: int, tokens: int) -> None:
        self._instance = instance
        self._url = f"{instance.url}/v1/completions"
        self._times, self._tokens = times, tokens
        self._ending = False
        self.streaming = 0
        self.answers: list[tuple[str, str]] = []
        self.cut: list[str] = []
        """The ids of requests whose answers ended in their middle."""
        self.refused: list[str] = []

    async def one(self, session: aiohttp.ClientSession) -> None:
        """Ask until told to end."""
        while not self._ending:
            sentence = sentence_of(_RNG)
            body = self._body(sentence) | {"stream": True}
            begun, said, request = False, "", ""
            try:
                async with asyncio.timeout(DEADLINE_S), session.post(self._url, json=body) as answer:
                    if answer.status != 200:
                        self.refused.append(f"{answer.status} {await answer.text()}")
                        continue
                    request = answer.headers["x-request-id"]
                    async for line in answer.content:
                        if line.startswith(b"data: {"):
                            self.streaming += not begun
                            begun = True
                            choices = json.loads(line[6:])["choices"]
                            said += (choices[0].get("text") or "") if choices else ""
                        elif line.startswith(b"data: [DONE]"):
                            self.answers.append((sentence, said))
            except aiohttp.ClientError as error:
                if begun:
                    self.cut.append(request)
                else:
                    self.refused.append(repr(error))
            except TimeoutError:
                self.refused.append("no whole answer in time")
            finally:
                self.streaming -= begun

    def end(self) -> None:
        """Let each client have the answer that it waits for, and no more."""
        self._ending = True

    async def more(self, count: int) -> None:
        """Wait for so many more whole answers."""
        wanted = len(self.answers) + count
        await until(lambda: len(self.answers) >= wanted, within_s=3 * DEADLINE_S)

    async def check(self, *, cut: int = 0) -> None:
        """Fail unless every answer was right, and whole but for so many that had begun."""
        assert self.refused == []
        assert len(self.cut) <= cut
        for sentence, said in self.answers:
            assert said.strip()
            if not (sentence * (self._tokens // 8 + 2)).startswith(said.strip()):
                assert said in await self._alone(sentence), f"{said!r} comes after {sentence!r}"

    def _body(self, sentence: str) -> dict[str, Any]:
        return greedy(sentence * self._times, self._tokens) | {"model": MODEL}

    async def _alone(self, sentence: str) -> list[str]:
        """Give what one worker says by itself, computing a prompt in one pass, and having it cached."""
        worker = (await asyncio.to_thread(workers, self._instance, "prefill"))[0]["address"]
        body = self._body(sentence)
        said = []
        async with aiohttp.ClientSession() as session:
            for _ in range(2):
                async with session.post(f"http://{worker}/v1/completions", json=body) as answer:
                    said.append((await answer.json())["choices"][0]["text"])
        return said


@contextlib.asynccontextmanager
async def asking(instance: Laptop, clients: int, *, times: int, tokens: int = 12) -> AsyncIterator[Clients]:
    """Clients that ask until the block ends, and then wait for what they asked last."""
    running = Clients(instance, times=times, tokens=tokens)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
        tasks = [asyncio.create_task(running.one(session)) for _ in range(clients)]
        try:
            await running.more(1)
            yield running
            running.end()
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Have processes stand still; what is killed meanwhile does not go on."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def is_told_to_end(pid: int) -> bool:
    """Whether a process that stands still will find a SIGTERM."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (pending,) = (int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd:"))
    return bool(pending & 1 << signal.SIGTERM - 1)


def memory(pid: int) -> Path:
    """Give what a process sees as the folder of memory files."""
    return Path(f"/proc/{pid}/root/dev/shm")


def waiting_states(pid: int, *, for_s: float = 0.5) -> set[Path]:
    """Give the files of the states that have waited so long at an engine for whoever pulls them."""
    links = [Path(target) for target in _open_by(pid)]
    folders = {memory(pid) / link.name for link in links if link.name.startswith("argosy-kv-")}
    found = set()
    for path in (path for folder in folders for path in folder.glob("[0-9a-f]" * 32)):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > for_s:
                found.add(path)
    return found


def pulls(pid: int, address: str) -> int:
    """Give how many connections a process has to the KV port of an address."""
    there = f"{int.from_bytes(ipaddress.ip_address(address).packed, 'little'):08X}:{KV_PORT:04X}"
    own = set(_open_by(pid))
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2:4] == [there, "01"] and f"socket:[{row[9]}]" in own for row in rows)


def _open_by(pid: int) -> Iterable[str]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield str(descriptor.readlink())
