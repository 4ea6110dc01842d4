"""What comes through Envoy, picker, prefill and decode worker is what one worker says that has the prompt cached."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import aiohttp
import pytest

from argosy.api.names import DECISIONS_PATH, METRICS_PORT
from harness.engine import events
from harness.kv import PATH, greedy, measured
from harness.laptop import ROOT, Laptop, laptop
from harness.split import MODEL, WORDS

PROMPTS = 50
SHORTEST, LONGEST = 10, 1500
"""In words, or their ends, each of which is a token."""
CLIENTS = 4
TIMEOUT_S = 280
"""For a leg, which may wait for others at its prefill worker."""
SOURCES = "vllm:prompt_tokens_by_source_total"
COMPUTED, CACHED, MOVED = "local_compute", "local_cache_hit", "external_kv_transfer"


class Told(NamedTuple):
    """An answer, and who computed its prompt, if that was somebody else."""

    text: str
    tokens: int
    cached: int
    request: str


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """A service whose every prompt is computed by a prefill worker."""
    file = tmp_path_factory.mktemp("f") / "every.yaml"
    text = (ROOT / "examples" / "disaggregated.yaml").read_text()
    wanted = f"thresholdTokens: 1\n      prefillTimeoutSeconds: {TIMEOUT_S}"
    file.write_text(text.replace("thresholdTokens: 128", wanted))
    with laptop(tmp_path_factory.mktemp("s"), file) as running:
        yield running


def prompts() -> list[str]:
    """Give prompts that any model is sure how to continue, from the shortest to the longest, short ones more often.

    Each says one thing again and again, so that of two words none is nearly as likely as the other.
    """
    rng = random.Random(50)
    whole = []
    for number in range(PROMPTS):
        count = SHORTEST + round((LONGEST - SHORTEST) * (number / (PROMPTS - 1)) ** 3)
        one, two, three, four = (f" {word}" for word in rng.sample(WORDS, 4))
        line = ["The", one, " and", " the", two, " bring", " the", three, " and", " the", four, ".", "\n"]
        pieces = [one, two] if count < 3 * len(line) else line
        whole.append("".join((pieces * count)[:count]).strip())
    rng.shuffle(whole)
    return whole


class Clients:
    """Clients of a service, who also ask its prefill workers."""

    def __init__(self, instance: Laptop, session: aiohttp.ClientSession) -> None:
        self._session = session
        status = instance.status()
        (service,) = status["services"]
        self._url = instance.url
        self._picker = next(each["address"] for each in status["components"] if each["name"] == "picker")
        self.workers = {
            role: [each["address"] for each in service["replicas"] if each["role"] == role]
            for role in ("prefill", "decode")
        }

    async def tell(self, url: str, prompt: str, *, streams: bool) -> Told:
        """Ask for a greedy answer, streamed or whole."""
        options = {"stream": True, "stream_options": {"include_usage": True}} if streams else {}
        body = greedy(prompt) | {"model": MODEL, **options}
        async with self._session.post(f"{url}{PATH}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            said = [each async for each in events(answer)] if streams else [await answer.json()]
            request = answer.headers.get("x-request-id", "")
        text = "".join(each["choices"][0]["text"] for each in said if each != "[DONE]" and each["choices"])
        (usage,) = (each["usage"] for each in said if each != "[DONE]" and each.get("usage"))
        return Told(text, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"], request)

    async def computed_by(self, request: str) -> str:
        """Give the prefill worker that computed a request's prompt."""
        url = f"http://{self._picker}:{METRICS_PORT}{DECISIONS_PATH}/{request}"
        async with self._session.get(url) as answer:
            picked = (await answer.json())["prefill"]["picked"]
        return picked if isinstance(picked, str) else f"{picked['address']}:{picked['port']}"

    async def alone(self, worker: str, prompt: str) -> Told:
        """Ask the worker that computed a prompt; it may have lost it meanwhile, and then is asked once more."""
        told = await self.tell(f"http://{worker}", prompt, streams=False)
        if told.cached < told.tokens - 1:
            told = await self.tell(f"http://{worker}", prompt, streams=False)
        return told


@contextlib.asynccontextmanager
async def clients(instance: Laptop) -> AsyncIterator[Clients]:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        yield await asyncio.to_thread(Clients, instance, session)


def tokens_by_source(worker: str) -> Counter[str]:
    return Counter({source: int(measured(worker, SOURCES, source=source)) for source in (COMPUTED, CACHED, MOVED)})


@pytest.mark.timeout(600)
async def test_fifty_prompts_are_answered_as_where_they_are_cached_and_decode_computes_one_token_of_each(
    split: Laptop,
) -> None:
    waiting = list(enumerate(prompts()))
    different: list[tuple[Told, Told]] = []
    lengths: list[int] = []

    async def client(asking: Clients) -> None:
        while waiting:
            number, prompt = waiting.pop()
            told = await asking.tell(split.url, prompt, streams=number % 2 == 0)
            alone = await asking.alone(await asking.computed_by(told.request), prompt)
            lengths.append(told.tokens)
            assert told.cached == alone.cached == told.tokens - 1
            if told.text != alone.text:
                different.append((told, alone))

    async with clients(split) as asking:
        decode, prefill = asking.workers["decode"], asking.workers["prefill"]
        before = [tokens_by_source(each) for each in (*decode, *prefill)]
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client(asking))
        after = [tokens_by_source(each) for each in (*decode, *prefill)]
    gained = [now - then for now, then in zip(after, before, strict=True)]
    assert different == []
    assert (len(lengths), min(lengths), max(lengths)) == (PROMPTS, SHORTEST, LONGEST)
    at_decode = gained[0] + gained[1]
    assert at_decode == {COMPUTED: PROMPTS, MOVED: sum(lengths) - PROMPTS}
    assert min(each[COMPUTED] for each in gained[2:]) > sum(lengths) / 5, "both prefill workers compute"
