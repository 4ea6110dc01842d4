"""Short commands beside a running container: exec probes and exec hooks."""

import asyncio

from argosy.edge.processes.logfile import LogFile
from argosy.edge.processes.probes import Outcome
from argosy.edge.processes.process import Command, SpawnFailed, spawn


async def run_guest(command: Command, log: LogFile, *, named: str, timeout_s: float | None) -> Outcome:
    """Run a command to its end, at most `timeout_s`; it is well when that is 0. `log` is removed afterwards.

    `named` is what the sentence calls the command.
    """
    try:
        process = spawn(command, log)
    except SpawnFailed as failure:
        return Outcome(ok=False, why=str(failure))
    try:
        async with asyncio.timeout(timeout_s):
            ended = await process.wait()
    except TimeoutError:
        return Outcome(ok=False, why=f"{named} had not ended after {timeout_s:g} s")
    finally:
        process.kill()
        await process.wait()
        words = process.last_words()
        log.path.unlink(missing_ok=True)
    return Outcome(ended.code == 0, f"{named} ended with {ended}" + (f": {words}" if words else ""))
