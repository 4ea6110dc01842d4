"""A laptop's object store on a socket, served from a thread of its own: what verbs find where an instance runs."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from argosy.edge.kube.memory import InMemoryStore
from argosy.edge.kube.serve import serve_store

T = TypeVar("T")


class ServedStore:
    """The store, and a way to do something with it in its own loop."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        numbers = iter(range(1, 1_000_000))
        self.store = InMemoryStore(now=lambda: "2026-01-01T00:00:00Z", new_uid=lambda: f"u{next(numbers)}")
        self.address = f"unix://{path}"
        self._loop = loop

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the store's to its end."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)


@contextlib.contextmanager
def served_store(path: Path) -> Iterator[ServedStore]:
    """Serve a store at a socket until the block ends."""
    loop = asyncio.new_event_loop()
    served = ServedStore(path, loop)
    ready, end = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with serve_store(served.store, path):
            ready.set()
            await end.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(timeout=30)
    try:
        yield served
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(timeout=30)
        loop.close()
