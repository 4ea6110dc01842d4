"""Conversations come back to the engine that has them in its cache; bursts are shared all the same."""

import asyncio
import json
from collections import Counter
from typing import Any, NamedTuple

import aiohttp
import pytest

from harness.laptop import Laptop, run

CONVERSATIONS = 8
FOLLOW_UPS = 4
WORDS = ["river", "stone", "lamp", "cloud", "seven", "paper", "garden", "winter", "copper", "bridge"]


class Told(NamedTuple):
    """One answer: its id and text, and how many of the prompt's tokens were cached."""

    request: str
    text: str
    prompt_tokens: int
    cached_tokens: int

    @property
    def share(self) -> float:
        return self.cached_tokens / self.prompt_tokens


async def ask(
    client: aiohttp.ClientSession, instance: Laptop, messages: list[dict[str, str]], tokens: int = 12
) -> Told:
    body = {"model": "smollm2", "messages": messages, "max_tokens": tokens, "temperature": 0}
    async with client.post(f"{instance.url}/v1/chat/completions", json=body) as answer:
        said: dict[str, Any] = await answer.json()
        assert answer.status == 200, said
        request = answer.headers["x-request-id"]
    usage = said["usage"]
    text = said["choices"][0]["message"]["content"]
    return Told(request, text, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"])


def beginning(number: int) -> list[dict[str, str]]:
    words = " ".join(WORDS[(number + place) % len(WORDS)] for place in range(60 + number))
    return [
        {"role": "system", "content": f"You are helper {number}. Remember: {words}."},
        {"role": "user", "content": f"What is word {number}?"},
    ]


@pytest.mark.parametrize("together", [False, True], ids=["one after the other", "all at once"])
async def test_follow_ups_find_their_conversation_in_the_cache(instance: Laptop, *, together: bool) -> None:
    talks = {number: beginning(number + 100 * together) for number in range(CONVERSATIONS)}
    homes: dict[int, str] = {}
    follow_ups: list[Told] = []
    async with aiohttp.ClientSession() as client:

        async def turn(number: int, question: str) -> None:
            if number in homes:
                talks[number].append({"role": "user", "content": question})
            told = await ask(client, instance, talks[number])
            talks[number].append({"role": "assistant", "content": told.text})
            if number in homes:
                follow_ups.append(told)
            else:
                why = await asyncio.to_thread(run, "why", told.request, "--json", "--state-dir", instance.state)
                homes[number] = json.loads(why.stdout)["picked"]

        for count in range(1 + FOLLOW_UPS):
            turns = [turn(number, f"And {count} more?") for number in talks]
            if together:
                await asyncio.gather(*turns)
            else:
                for each in turns:
                    await each
    assert min(Counter(homes.values()).values()) >= 3, homes
    warm = [told for told in follow_ups if told.share >= 0.8]
    assert len(warm) >= 0.95 * len(follow_ups), sorted(round(told.share, 2) for told in follow_ups)


async def test_a_burst_of_the_same_first_request_is_shared(instance: Laptop) -> None:
    messages = [{"role": "user", "content": "Once upon a burst " + " ".join(WORDS * 10)}]
    async with aiohttp.ClientSession() as client:
        before = picks(instance)
        await asyncio.gather(*(ask(client, instance, messages, tokens=4) for _ in range(100)))
    shares = {name: count - before[name] for name, count in picks(instance).items()}
    assert sum(shares.values()) == 100
    assert max(shares.values()) <= 60, shares


def picks(instance: Laptop) -> dict[str, int]:
    return {replica["name"]: replica["picks"] for replica in instance.service()["replicas"]}
