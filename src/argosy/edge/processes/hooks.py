"""Hooks of a container's life: what is done after its start and before it is told to end."""

import asyncio

from argosy.api.containers import Container, LifecycleHandler
from argosy.edge.processes.probes import Outcome, Reach, get

GET_TIMEOUT_S = 30.0


async def run_hook(hook: LifecycleHandler, container: Container, reach: Reach) -> Outcome:
    """Do what a hook says, to its end."""
    if hook.exec is not None:
        return await reach.run(hook.exec.command, None)
    if hook.http_get is not None:
        return await get(hook.http_get, container, reach, GET_TIMEOUT_S)
    if hook.sleep is not None:
        await asyncio.sleep(hook.sleep.seconds)
    return Outcome(ok=True, why="done")
