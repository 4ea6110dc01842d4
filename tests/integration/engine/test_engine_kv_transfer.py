"""A prompt computed by one engine is answered by another, which computes none of it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from harness.engine import Engine
from harness.kv import FAILED, HELD, SOURCE, answered, gained, greedy, kv_engine, prefill

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[tuple[Engine, Engine]]:
    """The engine of the first leg, and that of the second."""
    async with kv_engine(context=2048) as first, kv_engine(context=2048) as second:
        yield first, second


@pytest.mark.parametrize("tokens", [10, 128, 129, 600, 1500])
async def test_a_moved_prompt_is_answered_as_where_it_is_cached_and_nothing_of_it_is_computed(
    pair: tuple[Engine, Engine], tokens: int
) -> None:
    first, second = pair
    body = greedy([(7 * place + 31 * tokens) % 4000 + 300 for place in range(tokens)])
    parameters = await prefill(first, body)
    assert parameters["remote_num_tokens"] == tokens
    before = await second.metrics()
    text, cached = await answered(second, body, kv_transfer_params=parameters)
    assert cached == tokens - 1
    grown = gained(before, await second.metrics())
    assert grown[SOURCE % "external_kv_transfer"] == tokens - 1
    assert grown[SOURCE % "local_compute"] == 1
    assert SOURCE % "local_cache_hit" not in grown
    assert grown["vllm:external_prefix_cache_queries_total"] == tokens
    assert grown["vllm:external_prefix_cache_hits_total"] == tokens - 1
    assert grown["vllm:nixl_xfer_time_seconds_count"] == 1
    assert grown["vllm:nixl_bytes_transferred_sum"] > 23_040 * tokens
    assert FAILED not in grown
    assert (text, tokens - 1) == await answered(first, body)
    assert (await first.metrics())[HELD] == 0
