"""Chunks pass from a thread to the loop, bounded, in order, and stop when nobody wants them."""

import asyncio
from collections.abc import Iterable

from argosy.apps.engine.channel import Channel


def _put_all(channel: Channel, chunks: Iterable[bytes]) -> int:
    """Put until told to stop; say how many went."""
    put = 0
    for chunk in chunks:
        if channel.put(chunk):
            break
        put += 1
    channel.close()
    return put


async def _taken(channel: Channel) -> list[bytes]:
    chunks = []
    while more := await channel.take():
        chunks += more
    return chunks


async def test_chunks_arrive_in_order_and_the_end_stays_the_end() -> None:
    channel = Channel(asyncio.get_running_loop())
    chunks = [b"%d" % number for number in range(1000)]
    producer = asyncio.create_task(asyncio.to_thread(_put_all, channel, chunks))
    assert await _taken(channel) == chunks
    assert await channel.take() == []
    assert await producer == 1000


async def test_a_thread_waits_while_too_much_is_on_its_way() -> None:
    channel = Channel(asyncio.get_running_loop(), limit_bytes=100)
    producer = asyncio.create_task(asyncio.to_thread(_put_all, channel, [b"x" * 10] * 50))
    largest = 0
    while chunks := await channel.take():
        largest = max(largest, len(chunks))
    assert largest <= 10
    assert await producer == 50


async def test_cancelling_stops_a_thread_that_waits() -> None:
    channel = Channel(asyncio.get_running_loop(), limit_bytes=10)
    producer = asyncio.create_task(asyncio.to_thread(_put_all, channel, [b"x" * 10] * 50))
    await channel.take()
    channel.cancel()
    assert await producer < 50
    assert await channel.take() == []


async def test_a_refusal_comes_with_the_end() -> None:
    channel = Channel(asyncio.get_running_loop())
    await asyncio.to_thread(channel.close, "no such tool")
    assert await channel.take() == []
    assert channel.refusal == "no such tool"
