"""Waits that are seen: each names what it waits for, and why, whenever that changes; and short ones that are not."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from argosy.base.errors import NotNow
from argosy.edge.kube.port import NotFound, StoreUnavailable, Withheld

Report = Callable[[str], None]
"""Shows a line to whoever waits."""
Missing = Callable[[], Awaitable[Mapping[str, str]]]
"""Gives what is waited for, by name: why it is not so yet."""
POLL_S: Final = 0.3
PATIENCE_S: Final = 30.0
"""How long a server that answers and cannot is tried again: one that has just learnt a kind, or forgets one."""
T = TypeVar("T")


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Do something at the store again until it can be done. Raises what the last attempt has raised."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while True:
        try:
            return await attempt()
        except Withheld:
            raise
        except (StoreUnavailable, NotFound):
            if loop.time() > deadline:
                raise
        await asyncio.sleep(POLL_S)


async def until_nothing_is_missing(missing: Missing, report: Report, *, then: str, timeout_s: float) -> None:
    """Wait; `then` is said of each name once it is missing no more. Raises `NotNow`, with the reasons, when it is late.

    A server that is away for a moment is waited for too.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    said: dict[str, str] = {}
    while True:
        try:
            found = await missing()
        except StoreUnavailable as error:
            found = {**said, "the API server": str(error)}
        for name in sorted(said.keys() - found.keys()):
            report(f"{name} {then}")
        for name, why in found.items():
            if said.get(name) != why:
                report(f"{name}: {why}")
        said = dict(found)
        if not said:
            return
        if loop.time() > deadline:
            raise NotNow(f"after {timeout_s:g} s: {'; '.join(f'{name}: {why}' for name, why in said.items())}")
        await asyncio.sleep(POLL_S)
