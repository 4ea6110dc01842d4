"""A prompt computed by one engine is answered by another, which computes none of it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from argosy.api.names import MOVED_HEADER
from harness.engine import Engine, chat_body, events, said
from harness.kv import FAILED, HELD, SOURCE, answered, gained, greedy, kv_engine, prefill, relay, told

CHAT = "/v1/chat/completions"
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
    text, cached, moved = await told(second, body, kv_transfer_params=parameters)
    assert (cached, moved) == (tokens - 1, str(tokens - 1))
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


async def test_a_chat_goes_on_where_it_was_computed_streamed_or_whole(pair: tuple[Engine, Engine]) -> None:
    first, second = pair
    body = chat_body("What is a fleet of merchant ships called? Say it in one word.")
    tokens = (parameters := await prefill(first, body, CHAT))["remote_num_tokens"]
    whole = await answered(second, body, CHAT, kv_transfer_params=parameters)
    assert whole == await answered(first, body, CHAT)
    assert whole[1] == tokens - 1
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    parameters = await prefill(first, body | {"stream": False, "stream_options": None}, CHAT)
    async with second.http.post(CHAT, json=body | {"kv_transfer_params": parameters}) as response:
        streamed = [event async for event in events(response)]
        assert response.headers[MOVED_HEADER] == str(tokens - 1)
    assert said(streamed) == whole[0]
    assert streamed[-2]["usage"]["prompt_tokens_details"]["cached_tokens"] == tokens - 1


async def test_where_memory_is_shared_the_bytes_do_not_travel(pair: tuple[Engine, Engine]) -> None:
    first, second = pair
    body = greedy(list(range(1000, 1200)))
    parameters = await prefill(first, body)
    async with relay(first) as between:
        place = parameters | {"remote_host": between.address}
        assert (await answered(second, body, kv_transfer_params=place))[1] == 199
        assert between.through_bytes < 10_000


async def test_conversations_in_other_slots_stay_cached_while_prompts_come(pair: tuple[Engine, Engine]) -> None:
    first, second = pair
    kept = greedy(list(range(2000, 2100)))
    assert (await told(second, kept))[2] is None, "nothing was to come"
    for number in range(3):
        moved = greedy([(13 * place + 500 * number) % 4000 + 300 for place in range(60)])
        assert (await answered(second, moved, kv_transfer_params=await prefill(first, moved)))[1] == 59
        assert (await answered(second, kept))[1] == 99
