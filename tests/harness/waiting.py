"""Waiting for a condition, with a deadline; the one place where tests sleep."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

DEADLINE_S = 60.0


async def until(condition: Callable[[], Any], *, within_s: float = DEADLINE_S) -> Any:
    """Give the result of the condition, a coroutine function or not, once it is true; else AssertionError."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        result = condition()
        if isinstance(result, Awaitable):
            result = await result
        if result:
            return result
        assert asyncio.get_running_loop().time() < deadline, f"never came true: {condition}"
        await asyncio.sleep(0.01)


def wait_for(condition: Callable[[], Any], otherwise: str, *, within_s: float = DEADLINE_S) -> Any:
    """Give the result of the condition once it is true; else fail with `otherwise`."""
    deadline = time.monotonic() + within_s
    while not (result := condition()):
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)
    return result
