"""A program that starts processes of its own leaves none behind, however its supervisor dies, and ends as it would."""

import asyncio
import sys
import uuid
from pathlib import Path

import pytest

from argosy.edge.processes import keeper
from argosy.edge.processes.logfile import LogFile
from argosy.edge.processes.process import Command, spawn
from harness.waiting import until

KEEPER = (sys.executable, "-I", "-S", keeper.__file__, "--")
SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from argosy.edge.processes.logfile import LogFile
from argosy.edge.processes.process import Command, spawn

async def main():
    command = Command(argv=tuple(sys.argv[2:]), env={"PATH": "/usr/bin:/bin"})
    await spawn(command, LogFile(Path(sys.argv[1]), 1 << 20)).wait()

asyncio.run(main())
"""


def marked(marker: str) -> list[int]:
    """Give all processes that have the marker in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


async def test_sigkill_of_the_supervisor_ends_what_the_program_has_started(tmp_path: Path) -> None:
    marker, log = f"argosy-test-{uuid.uuid4()}", tmp_path / "log"
    program = ("sh", "-c", f"sh -c 'trap \"\" TERM; sleep 1000; : {marker}' & echo started; wait")
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", SUPERVISOR, str(log), *KEEPER, *program)
    try:
        await until(lambda: log.exists() and "started" in log.read_text())
        assert len(marked(marker)) == 4  # supervisor, keeper, the program, and what that has started
    finally:
        supervisor.kill()
    await supervisor.wait()
    await until(lambda: not marked(marker), within_s=5)


@pytest.mark.parametrize(
    ("script", "code"), [("exit 3", 3), ("kill -KILL $$", 137), ("trap 'exit 5' TERM; echo up; sleep 1000 & wait", 5)]
)
async def test_its_end_is_that_of_the_program(tmp_path: Path, script: str, code: int) -> None:
    log = LogFile(tmp_path / "log", 1 << 20)
    process = spawn(Command(argv=(*KEEPER, "sh", "-c", script), env={"PATH": "/usr/bin:/bin"}), log)
    if code == 5:
        await until(lambda: "up" in (tmp_path / "log").read_text())
        ended = await process.terminate(10)
    else:
        ended = await process.wait()
    assert ended.code == code


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", 1 << 20)
    process = spawn(Command(argv=(*KEEPER, "/nowhere/python"), env={}), log)
    assert (await process.wait()).code == keeper.NOT_FOUND
    assert "cannot start /nowhere/python: No such file" in process.last_words()
