"""A split service, with real weights, while its parts are killed: never a wrong text, never a hang."""

import asyncio
import contextlib
import json
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from harness.kv import moved_tokens
from harness.laptop import ROOT, Laptop, laptop

MODEL = "smollm2"
DEADLINE_S = 60.0
"""For one answer, whatever happens meanwhile: a leg's own time is 30 s."""
ROUNDS = 2
REPEATED = 12
"""How often a prompt has its sentence: some 250 tokens in all."""
WORDS = ("ship", "harbour", "cargo", "mast", "sail", "rope", "anchor", "tide", "wind", "storm", "compass", "chart")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    with laptop(tmp_path_factory.mktemp("s"), ROOT / "examples" / "disaggregated.yaml") as running:
        yield running


def workers(instance: Laptop, role: str) -> list[dict[str, Any]]:
    return [each for each in instance.service()["replicas"] if each["role"] == role]


def body_of(sentence: str, times: int, **more: Any) -> dict[str, Any]:
    """Give a request for what comes next; any model goes on with a sentence that it has read so often."""
    return {"model": MODEL, "prompt": f"{sentence} " * times, "max_tokens": 12, "temperature": 0, **more}


async def text_of(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> str:
    async with session.post(f"{url}/v1/completions", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["choices"][0]["text"])


def sentence_of(rng: random.Random) -> str:
    """Give a sentence that no other request is likely to have."""
    return f"The {rng.choice(WORDS)} and the {rng.choice(WORDS)} bring {' and '.join(rng.choices(WORDS, k=5))}."


class Clients:
    """Clients that ask for streamed answers to prompts nobody has seen, and keep what they were told."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/completions"
        self._rng = random.Random(0)
        self.answers: list[tuple[str, str]] = []
        self.cut = 0
        self.refused: list[str] = []

    async def one(self, session: aiohttp.ClientSession) -> None:
        """Ask until cancelled."""
        while True:
            sentence = sentence_of(self._rng)
            begun, said = False, ""
            try:
                async with (
                    asyncio.timeout(DEADLINE_S),
                    session.post(self._url, json=body_of(sentence, REPEATED, stream=True)) as answer,
                ):
                    if answer.status != 200:
                        self.refused.append(f"{answer.status} {await answer.text()}")
                        continue
                    async for line in answer.content:
                        if line.startswith(b"data: {"):
                            begun = True
                            choices = json.loads(line[6:])["choices"]
                            said += (choices[0].get("text") or "") if choices else ""
                        elif line.startswith(b"data: [DONE]"):
                            self.answers.append((sentence, said))
            except aiohttp.ClientError as error:
                if begun:
                    self.cut += 1
                else:
                    self.refused.append(repr(error))
            except TimeoutError:
                self.refused.append("no whole answer in time")

    async def more(self, count: int) -> None:
        """Wait for so many more whole answers."""
        wanted = len(self.answers) + count
        async with asyncio.timeout(3 * DEADLINE_S):
            while len(self.answers) < wanted:  # noqa: ASYNC110 (others answer)
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def asking(instance: Laptop, clients: int) -> AsyncIterator[Clients]:
    running = Clients(instance.url)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
        tasks = [asyncio.create_task(running.one(session)) for _ in range(clients)]
        try:
            await running.more(1)
            yield running
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def everything_is_ready(status: dict[str, Any]) -> bool:
    replicas = status["services"][0]["replicas"]
    return len(replicas) == 4 and all(each["ready"] for each in (*status["components"], *replicas))


async def test_what_was_moved_reads_as_what_one_worker_says_by_itself(split: Laptop) -> None:
    rng = random.Random(1)
    bodies = [body_of(sentence_of(rng), times) for times in (1, 6, 12, 30, 60)]
    before = await asyncio.to_thread(lambda: moved_tokens(each["address"] for each in workers(split, "decode")))
    prefills = [f"http://{each['address']}" for each in await asyncio.to_thread(workers, split, "prefill")]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        for body in bodies:
            told = await text_of(session, split.url, body)
            alone = []
            for worker in prefills:
                await text_of(session, worker, body)
                alone.append(await text_of(session, worker, body))
            assert [told, told] == alone, "a worker that has the prompt cached says the same"
    after = await asyncio.to_thread(lambda: moved_tokens(each["address"] for each in workers(split, "decode")))
    assert after - before > 1000


@pytest.mark.parametrize("victim", ["prefill", "decode", "picker"])
async def test_whatever_is_killed_no_text_is_wrong_and_only_what_had_begun_at_a_decode_worker_is_lost(
    split: Laptop, victim: str
) -> None:
    await asyncio.to_thread(split.wait_until, everything_is_ready, timeout=60)
    rng = random.Random(victim)
    async with asking(split, 4) as clients:
        for turn in range(ROUNDS):
            if victim == "picker":
                pid = await asyncio.to_thread(split.pid, "picker")
            else:
                pid = (await asyncio.to_thread(workers, split, victim))[turn % 2]["pid"]
            await asyncio.sleep(rng.uniform(0.2, 1.5))  # any moment will do, and another each time
            os.kill(pid, signal.SIGKILL)
            await clients.more(4)
            await asyncio.to_thread(split.wait_until, everything_is_ready, timeout=60)
        await clients.more(2)
    assert clients.refused == []
    assert clients.cut <= (4 * ROUNDS if victim == "decode" else 0)
    for sentence, said in clients.answers:
        assert said.strip()
        assert f"{sentence} ".startswith(said.strip()), "it goes on with its own prompt, and with nobody else's"
