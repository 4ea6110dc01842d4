"""Slots give each request the right slot, and never let one adapter's state speak for another."""

import asyncio
from collections.abc import Callable
from typing import Any

from argosy.apps.engine.channel import Channel
from argosy.apps.engine.metrics import Metrics
from argosy.apps.engine.model import RefusedError
from argosy.apps.engine.request import Request
from argosy.apps.engine.slots import Slots

PROGRESS = b'{"prompt_progress":{"processed":1}}'


class _Model:
    """Notes which slot each prompt was given, and what was said of it."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, int, bool]] = []

    def generate(self, request: Request, give: Callable[[bytes], bool], *, slot: int, reuses: bool) -> None:
        self.seen.append((request.text, slot, reuses))
        if request.text.startswith(b"too long"):
            give(b"null")
            raise RefusedError("too long")
        give(PROGRESS)

    def close(self) -> None:
        pass


async def _asked(parallel: int, *asked: tuple[bytes, str]) -> list[tuple[int, bool]]:
    """Slot and reuse of requests that come one after the other, as prompts and adapters."""
    model = _Model()
    anything: Any = model
    slots = Slots(anything, parallel)
    for text, adapter in asked:
        request = Request(
            kind="completion", payload=b"{}", streams=True, include_usage=False, text=text, adapter=adapter
        )
        channel = Channel(asyncio.get_running_loop())
        await slots.start(request, channel, Metrics("m").watch())
        await channel.take()
        while slots.running:  # noqa: ASYNC110 - the end of a thread, told by the loop
            await asyncio.sleep(0)
    assert slots.close(5)
    return [(slot, reuses) for _, slot, reuses in model.seen]


async def test_conversations_stay_in_their_slots() -> None:
    tea, rope = b"tea" * 30, b"rope" * 30
    placed = await _asked(3, (tea, ""), (rope, ""), (tea + b"pot", ""), (rope + b"s", ""))
    assert [slot for slot, _ in placed] == [0, 1, 0, 1]


async def test_a_slot_of_another_adapter_is_taken_without_what_it_holds() -> None:
    placed = await _asked(1, (b"tea", ""), (b"tea", "pirate"), (b"tea", "pirate"), (b"tea", ""))
    assert placed == [(0, True), (0, False), (0, True), (0, False)]


async def test_a_refused_request_leaves_its_slot_to_the_adapter_that_was_there_or_to_nobody() -> None:
    same = await _asked(2, (b"tea" * 9, ""), (b"too long", ""), (b"too long", ""), (b"tea" * 9, ""))
    assert same[-1] == (0, True)
    other = await _asked(1, (b"tea", "pirate"), (b"too long", ""), (b"tea", ""), (b"tea", ""))
    assert other == [(0, False), (0, False), (0, False), (0, True)]
