"""Who generates and who waits: never more than `parallel` at a time, in turns of adapters.

The queue is here and not in llama.cpp: a request that waits needs no thread, can be given up at once, and is counted.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec

from argosy.apps.engine.answer import cached_tokens, is_error, is_progress
from argosy.apps.engine.channel import Channel
from argosy.apps.engine.metrics import Watch
from argosy.apps.engine.model import Model, RefusedError
from argosy.apps.engine.moving import Moving
from argosy.apps.engine.request import Request
from argosy.apps.engine.slot_choice import Choice, Content, choose
from argosy.apps.engine.turns import Turns


class Slots:
    """The slots of one model. Belongs to the event loop that it was made in."""

    def __init__(self, model: Model, parallel: int, moving: Moving | None = None) -> None:
        self._model = model
        self._moving = moving
        self.turns = Turns(parallel)
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="slot")
        self._contents = [Content()] * parallel
        self._idle = set(range(parallel))
        self._started = 0
        self.running = 0
        self.waiting = 0

    async def start(self, request: Request, channel: Channel, watch: Watch) -> None:
        """Wait for a slot and begin to generate into `channel`, which is closed at the end."""
        self.waiting += 1
        try:
            await self.turns.take(request.adapter)
        finally:
            self.waiting -= 1
        watch.note_slot()
        self.running += 1
        self._started += 1
        choice = choose(request.text, request.adapter, [(slot, self._contents[slot]) for slot in self._idle])
        self._idle.remove(choice.slot)
        run = _Run(self._model, self._moving, request, choice, channel, watch)
        content = Content(text=request.text, adapter=request.adapter, used=self._started)
        work = asyncio.get_running_loop().run_in_executor(self._threads, run)
        work.add_done_callback(lambda _work: self._end(choice, content, run.computed))

    def _end(self, choice: Choice, content: Content, computed: bool) -> None:  # noqa: FBT001 - of a callback
        """Note what the slot holds: what came before, perhaps, if llama.cpp did not come to the prompt."""
        before = self._contents[choice.slot]
        if not computed:
            same = before.adapter == content.adapter
            content = msgspec.structs.replace(before if same else Content(adapter=None), used=content.used)
        self._contents[choice.slot] = content
        self._idle.add(choice.slot)
        self.running -= 1
        self.turns.give_back()

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


class _Run:
    """One request in its slot, from the state of its prompt to its last token; called in the slot's thread."""

    def __init__(
        self,
        model: Model,
        moving: Moving | None,
        request: Request,
        choice: Choice,
        channel: Channel,
        watch: Watch,
    ) -> None:
        self._model, self._moving = model, moving
        self._request, self._choice = request, choice
        self._channel, self._watch = channel, watch
        self.computed = False
        """Whether llama.cpp came to the prompt."""

    def __call__(self) -> None:
        refusal = None
        try:
            self._fetch()
            if not self._channel.cancelled:
                reuses = self._choice.reuses or self._channel.moved_tokens > 0
                self._model.generate(self._request, self._give, slot=self._choice.slot, reuses=reuses)
                self._hold()
        except RefusedError as error:
            refusal = str(error)
        finally:
            self._channel.close(refusal)

    def _give(self, chunk: bytes) -> bool:
        if is_progress(chunk):
            if chunk != b"null" and not self.computed:
                self._channel.cached_tokens = cached_tokens(chunk)
            self.computed = self.computed or chunk != b"null"
            return self._channel.cancelled
        self.computed = not is_error(chunk)
        self._watch.note_chunk(chunk)
        return self._channel.put(chunk)

    def _fetch(self) -> None:
        source, channel = self._request.kv_source, self._channel
        if self._moving is None or source is None or channel.cancelled:
            channel.not_moved = "refused"
            return
        slot, adapter = self._choice.slot, self._request.adapter
        if not self._choice.reuses:
            self._model.take_on(slot, adapter)
        moved = self._moving.fetch(source, slot, adapter, lambda: channel.cancelled)
        if isinstance(moved, int):
            channel.moved_tokens = moved
        else:
            channel.not_moved = moved

    def _hold(self) -> None:
        if self._moving is None or not self._request.is_prefill or not self.computed or self._channel.cancelled:
            return
        kept = self._moving.hold(self._choice.slot, self._request.adapter)
        self._channel.kv_transfer = kept
        if kept is not None and self._channel.cancelled:  # perhaps after whoever cancelled it has looked
            self._moving.forget(kept)
