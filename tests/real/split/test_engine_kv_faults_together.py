"""Caches that come together, some of them not right or with no room: each answer is, and those are computed again."""

import asyncio
import contextlib
import random
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from argosy.apps.engine.kv_header import encode_header
from argosy.edge.transfer.wire import reply
from harness.engine import Engine
from harness.kv import (
    BYTES,
    FAILED,
    HELD,
    NOT_HELD,
    PATH,
    PREFILL,
    SOURCE,
    answered,
    gained,
    greedy,
    kv_engine,
    prefill,
    pulled,
    relay,
    scripted_sender,
    tiny_memory,
)
from harness.split import sentence_of
from harness.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
PARALLEL = 8
SETTINGS = {"parallel": PARALLEL, "context": 512}
TIMES = 6
CHANGED = """
import runpy, sys
from argosy.apps.engine.model import Model
from argosy.edge.transfer import wire
{change}
sys.argv = sys.argv[3:]
runpy.run_module("argosy", run_name="__main__", alter_sys=True)
"""
"""An engine's words follow: the interpreter, -m, argosy and so on."""
Body = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def first(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    async with kv_engine("--kv-folder", str(tmp_path_factory.mktemp("kv")), **SETTINGS) as engine:
        yield engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def second(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    async with kv_engine("--kv-folder", str(tmp_path_factory.mktemp("kv")), **SETTINGS) as engine:
        yield engine


def bodies(count: int, seed: int) -> list[Body]:
    """Give prompts of some 80 tokens, a state of 2 MB, that any model is sure how to continue."""
    rng = random.Random(seed)
    return [greedy(sentence_of(rng) * TIMES) for _ in range(count)]


async def is_right(plain: Engine, body: Body, told: tuple[str, int]) -> bool:
    """Whether that is the answer of an engine that had the prompt in its cache."""
    await answered(plain, body, max_tokens=1)
    text, _ = await answered(plain, body)
    return told[0] == text


@contextlib.asynccontextmanager
async def another(change: str, folder: Path) -> AsyncIterator[Engine]:
    """An engine of another build."""
    within = (sys.executable, "-c", CHANGED.format(change=change))
    async with kv_engine("--kv-folder", str(folder), within=within, **SETTINGS) as engine:
        yield engine


async def test_only_caches_that_are_not_right_are_computed_again(first: Engine, second: Engine, tmp_path: Path) -> None:
    right, others, wrong = bodies(2, 1), bodies(1, 2), bodies(5, 3)
    async with contextlib.AsyncExitStack() as stack:
        build = await stack.enter_async_context(another("Model.build = '1'", tmp_path))
        version = await stack.enter_async_context(another("wire.VERSION = 2", tmp_path))
        between = await stack.enter_async_context(relay(first, limit_bytes=1_000_000))
        places = [await prefill(first, body) for body in right]
        short, damaged = await prefill(first, wrong[0]), await prefill(first, wrong[1])
        header, state = await pulled(short)
        sender = scripted_sender(reply(encode_header(header)), state[: len(state) // 2])
        short["remote_host"] = await stack.enter_async_context(sender)
        header, state = await pulled(damaged)
        sender = scripted_sender(reply(encode_header(header)), state[:-1000] + bytes([state[-1000] ^ 1]) + state[-999:])
        damaged["remote_host"] = await stack.enter_async_context(sender)
        cut = await prefill(first, wrong[2]) | {"remote_host": between.address}
        places += [short, damaged, cut, await prefill(build, wrong[3]), await prefill(version, wrong[4])]
        before = await second.metrics()
        asked = [
            asyncio.create_task(answered(second, body, kv_transfer_params=place))
            for body, place in zip(right + wrong, places, strict=True)
        ]
        beside = asyncio.create_task(answered(second, others[0]))
        await between.stalls.wait()
        between.cut()
        told = await asyncio.gather(*asked)
        grown = gained(before, await second.metrics()) if await beside else {}
    tokens = [place["remote_num_tokens"] for place in (*places, await prefill(first, others[0]))]
    assert [cached for _, cached in told] == [tokens[0] - 1, tokens[1] - 1, 0, 0, 0, 0, 0]
    assert grown[FAILED] == 5
    assert grown[SOURCE % "external_kv_transfer"] == sum(tokens[:2]) - 2
    assert grown[SOURCE % "local_compute"] == sum(tokens[2:]) + 2
    for body, each in zip(right + wrong + others, [*told, await beside], strict=True):
        assert await is_right(first, body, each)
    await until(lambda: _has(first, HELD, 1))
    assert await _has(second, BYTES, 0)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="there is no unshare here")
async def test_where_memory_is_full_what_has_room_comes(first: Engine, second: Engine, tmp_path: Path) -> None:
    async with kv_engine("--kv-folder", str(tmp_path), within=tiny_memory(tmp_path), **SETTINGS) as tiny:
        asked = bodies(4, 4)
        places = [await prefill(first, body) for body in asked]
        told = await asyncio.gather(
            *(answered(tiny, body, kv_transfer_params=place) for body, place in zip(asked, places, strict=True))
        )
        failed = (await tiny.metrics())[FAILED]
        assert failed >= 1
        assert [cached > 0 for _, cached in told].count(False) == failed
        for body, each in zip(asked, told, strict=True):
            assert await is_right(first, body, each)
        asked = bodies(4, 5)
        answers = await asyncio.gather(
            *(tiny.post(PATH, body | {"max_tokens": 1, "kv_transfer_params": PREFILL}) for body in asked)
        )
        assert [status for status, _ in answers] == [200] * 4
        kept = [answer.get("kv_transfer_params") for _, answer in answers]
        assert kept.count(None) == (await tiny.metrics())[NOT_HELD] >= 1
        for body, place in zip(asked, kept, strict=True):
            if place is not None:
                assert await is_right(first, body, each := await answered(second, body, kv_transfer_params=place))
                assert each[1] > 0
        assert any(kept)


async def _has(engine: Engine, name: str, value: float) -> bool:
    return (await engine.metrics())[name] == value
