"""Waiting for a condition, with a deadline."""

import asyncio
from collections.abc import Callable

DEADLINE_S = 20.0


async def until(condition: Callable[[], object], *, deadline_s: float = DEADLINE_S) -> None:
    """Wait until `condition()` is true; raises TimeoutError when it does not become so."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 (the condition may be anything, a file or another process)
            await asyncio.sleep(0.01)
