"""Streaming clients that ask again and again, and tell apart what failed before an answer began and after."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import aiohttp


class Load:
    """What became of the requests of some clients of one model.

    Prompts are the same few words, or so many of them, a client's own and different in every turn, that no cache has
    them.
    """

    def __init__(self, url: str, model: str, *, prompt_words: int = 0) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._model = model
        self._prompt_words = prompt_words
        self._asked = 0
        self.completed = 0
        self.cut = 0
        self.refused: list[str] = []

    async def client(self, session: aiohttp.ClientSession) -> None:
        """Ask until cancelled."""
        while True:
            begun = False
            try:
                async with session.post(self._url, json=self._body()) as response:
                    if response.status != 200:
                        self.refused.append(f"{response.status} {await response.text()}")
                        continue
                    async for line in response.content:
                        begun = begun or line.startswith(b"data:")
                        if line.startswith(b"data: [DONE]"):
                            self.completed += 1
            except aiohttp.ClientError as error:
                if begun:
                    self.cut += 1
                else:
                    self.refused.append(repr(error))

    def _body(self) -> dict[str, object]:
        self._asked += 1
        words = " ".join(f"{self._asked}-{number}" for number in range(self._prompt_words))
        message = {"role": "user", "content": f"{words} Count to ten.".strip()}
        return {"model": self._model, "messages": [message], "stream": True, "max_tokens": 16}

    async def more(self, answers: int, *, within_s: float = 60) -> None:
        """Wait for so many more whole answers."""
        wanted, deadline = self.completed + answers, time.monotonic() + within_s
        while self.completed < wanted:
            assert time.monotonic() < deadline, f"{self.completed} of {wanted}; {self.refused[:3]}"
            await asyncio.sleep(0.02)

    async def lasting(self, seconds: float) -> None:
        """Go on for a time; fail when answers stop coming."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await self.more(1)

    def check(self) -> None:
        """Fail unless every request was answered, and to its end."""
        assert not self.refused, f"{len(self.refused)} refused, {self.completed} answered: {self.refused[:3]}"
        assert not self.cut


@contextlib.asynccontextmanager
async def load(
    url: str, model: str, *, clients: int = 6, kept: bool = False, prompt_words: int = 0
) -> AsyncIterator[Load]:
    """Ask until the block ends; it begins once every client may have had an answer.

    Each request has a connection of its own, or, if they are `kept`, the one of the request before.
    """
    running = Load(url, model, prompt_words=prompt_words)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=not kept)) as session:
        tasks = [asyncio.create_task(running.client(session)) for _ in range(clients)]
        try:
            await running.more(clients)
            yield running
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
