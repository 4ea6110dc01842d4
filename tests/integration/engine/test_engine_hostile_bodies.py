"""Bodies made to cost much leave the engine's memory within what planning reckons with."""

import asyncio
import io
import json
import re
from pathlib import Path
from typing import Any

import aiohttp

from argosy.engines.llama_cpp import EMBEDDED_WEIGHTS_BYTES, Settings, memory_bytes
from harness.engine import MODEL, WEIGHTS, Engine, chat_body

KV_BYTES_PER_TOKEN = 2 * 30 * 192 * 2
"""Keys and values, 30 layers of 192 numbers, 2 bytes each."""
PLAN = memory_bytes(
    weights_bytes=EMBEDDED_WEIGHTS_BYTES,
    kv_bytes_per_token=KV_BYTES_PER_TOKEN,
    settings=Settings(model=MODEL, weights=WEIGHTS, parallel=2, context_tokens=1024),
)
ENUM: Any = {"type": "json_object", "schema": {"enum": [f"v{number}" for number in range(256)]}}
BODIES: list[Any] = [
    chat_body("a", repeat_last_n=1_000_000_000, repetition_penalty=1.1),
    chat_body("a", dry_penalty_last_n=1_000_000_000, dry_multiplier=1),
    chat_body("a", samplers=["top_k"] * 100_000),
    chat_body("a", response_format=ENUM, max_tokens=2),
    b'{"messages":[' + b"{}," * 10_000_000 + b"{}]}",
    b'{"messages":[' + b"{}," * 100_000 + b"{}]}",
    b'{"messages":[{"role":"user","content":"' + b" " * 250_000 + b'"}]}',
]


def _peak_bytes(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


async def test_hostile_bodies_stay_within_the_memory_that_is_planned() -> None:
    async with Engine.started() as engine:
        for body in BODIES:
            async with asyncio.timeout(10):
                data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
                async with engine.http.post("/v1/chat/completions", data=data) as response:
                    assert response.status in {200, 400}
        assert _peak_bytes(engine.process.pid) < PLAN


async def test_many_large_bodies_together_are_turned_away_and_not_held() -> None:
    body = b'{"messages":[{"role":"user","content":"a"}],"max_tokens":1,"metadata":"' + b" " * 300_000 + b'"}'
    async with Engine.started() as engine:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(f"http://{engine.address}:8000", connector=connector) as crowd:

            async def post() -> int:
                async with crowd.post("/v1/chat/completions", data=body) as response:
                    return response.status

            statuses = await asyncio.gather(*(post() for _ in range(200)))
        assert set(statuses) == {200, 503}
        assert _peak_bytes(engine.process.pid) < PLAN
        await engine.chat("Hello.", max_tokens=1)
