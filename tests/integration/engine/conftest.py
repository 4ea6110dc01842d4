"""One engine for the tests that leave it as they found it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from harness.engine import Engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Engine]:
    async with Engine.started("--model-alias", "small") as running:
        yield running
