"""Who generates and who waits: never more than `parallel` at a time, first come, first served.

The queue is here and not in llama.cpp: a request that waits needs no thread, can be given up at once, and is counted.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from argosy.apps.engine.answer import is_progress
from argosy.apps.engine.channel import Channel
from argosy.apps.engine.metrics import Watch
from argosy.apps.engine.model import Model, RefusedError
from argosy.apps.engine.request import Request


class Slots:
    """The slots of one model. Belongs to the event loop that it was made in."""

    def __init__(self, model: Model, parallel: int) -> None:
        self._model = model
        self._free = asyncio.Semaphore(parallel)
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="slot")
        self.running = 0
        self.waiting = 0

    async def start(self, request: Request, channel: Channel, watch: Watch) -> None:
        """Wait for a slot and begin to generate into `channel`, which is closed at the end."""
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        watch.note_slot()
        self.running += 1
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._generate, request, channel, watch)
        work.add_done_callback(self._end)

    def _end(self, _work: asyncio.Future[None]) -> None:
        self.running -= 1
        self._free.release()

    def _generate(self, request: Request, channel: Channel, watch: Watch) -> None:
        def give(chunk: bytes) -> bool:
            if is_progress(chunk):
                return channel.cancelled
            watch.note_chunk(chunk)
            return channel.put(chunk)

        refusal = None
        try:
            if not channel.cancelled:
                self._model.generate(request, give)
        except RefusedError as error:
            refusal = str(error)
        finally:
            channel.close(refusal)

    def close(self, timeout_s: float) -> bool:
        """End the threads and the model; False when llama.cpp does not come back within `timeout_s`.

        Generations should have been cancelled; rendering a prompt and sampling one token do not hear of it.
        """
        closer = threading.Thread(target=self._close, daemon=True)
        closer.start()
        closer.join(timeout_s)
        return not closer.is_alive()

    def _close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._model.close()
