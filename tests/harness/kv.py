"""Engines between which KV caches move, and the two legs of a request."""

import asyncio
import contextlib
import signal
import urllib.request
from collections.abc import AsyncIterator, Iterable
from typing import Any

from argosy.edge.http.exposition import samples
from harness.engine import Engine

KV_PORT = 5600
PREFILL = {"do_remote_decode": True, "do_remote_prefill": False}
PATH = "/v1/completions"
SOURCE = 'vllm:prompt_tokens_by_source_total{source="%s"}'
FAILED = "vllm:nixl_num_failed_transfers_total"
EXPIRED = "vllm:nixl_num_kv_expired_reqs_total"
HELD = "argosy_kv_states_held"
NOT_HELD = "argosy_kv_states_not_held_total"
BYTES = "argosy_kv_states_bytes"


@contextlib.asynccontextmanager
async def kv_engine(*arguments: str, **settings: Any) -> AsyncIterator[Engine]:
    """An engine that hands KV caches over and takes them; it ends by itself, and leaves nothing in memory files."""
    async with Engine.started("--kv-port", str(KV_PORT), *arguments, **settings) as engine:
        try:
            yield engine
        finally:
            if engine.process.returncode is None:
                engine.process.send_signal(signal.SIGTERM)
                engine.process.send_signal(signal.SIGINT)  # does not wait for pulls that never come
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(engine.process.wait(), 10)


async def prefill(engine: Engine, body: dict[str, Any], path: str = PATH) -> dict[str, Any]:
    """The first leg; gives the parameters for the second one."""
    status, answer = await engine.post(path, body | {"max_tokens": 1, "kv_transfer_params": PREFILL})
    assert status == 200, answer
    assert answer["usage"]["completion_tokens"] == 1
    parameters: dict[str, Any] = answer["kv_transfer_params"]
    return parameters


async def answered(engine: Engine, body: dict[str, Any], path: str = PATH, **fields: Any) -> tuple[str, int]:
    """A whole answer: its text, and how many tokens of its prompt were not computed."""
    status, answer = await engine.post(path, body | fields)
    assert status == 200, answer
    assert "kv_transfer_params" not in answer
    choice = answer["choices"][0]
    text = choice["text"] if "text" in choice else choice["message"]["content"]
    return text, answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def moved_tokens(endpoints: Iterable[str]) -> int:
    """Give how many tokens of prompts engines (`ADDRESS:PORT`) have been given by others."""
    total = 0.0
    for endpoint in endpoints:
        with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=10) as page:
            found = samples(page.read())
        total += sum(value for (_, labels), value in found.items() if ("source", "external_kv_transfer") in labels)
    return int(total)


def gained(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What has grown between two samples of an engine's metrics, and by how much."""
    return {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}


def greedy(prompt: Any, max_tokens: int = 16) -> dict[str, Any]:
    """A greedy completion."""
    return {"prompt": prompt, "temperature": 0, "max_tokens": max_tokens, "ignore_eos": True}
