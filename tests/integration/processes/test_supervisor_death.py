"""However a supervisor dies, no process of it is left."""

import asyncio
import random
import signal
import sys
import uuid
from pathlib import Path

import pytest

from harness.waiting import until

SUPERVISOR = Path(__file__).with_name("small_supervisor.py")
MOMENTS = 20


def marked(marker: str) -> list[int]:
    """Give all processes that have the marker in their environment or command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (process / "environ").read_bytes() + (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


@pytest.mark.parametrize("moment", range(MOMENTS))
async def test_sigkill_of_the_supervisor_leaves_nothing_behind(moment: int, tmp_path: Path) -> None:
    rng = random.Random(moment)
    marker = f"argosy-test-{uuid.uuid4()}"
    arguments = (sys.executable, str(SUPERVISOR), str(tmp_path), marker, marker)
    supervisor = await asyncio.create_subprocess_exec(*arguments)
    phase = ("start", "steady", "drain")[moment % 3]
    try:
        await until((tmp_path / "started").exists)
        if phase != "start":
            await until(lambda: all("serving" in read(tmp_path / f"pod-{index}.log") for index in range(3)))
            assert len(marked(marker)) == 4
        if phase == "drain":
            supervisor.send_signal(signal.SIGTERM)
            await until((tmp_path / "draining").exists)
        await asyncio.sleep(rng.uniform(0, 0.15))
    finally:
        supervisor.kill()
    assert await supervisor.wait() == -signal.SIGKILL
    await until(lambda: not marked(marker), within_s=5)


def read(log: Path) -> str:
    return log.read_text() if log.exists() else ""
