"""A whole instance, as a user starts it: `argosy up -d`, `argosy status --json`, `argosy down`."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
ARGOSY = (sys.executable, "-m", "argosy")
UP_TIMEOUT_S = 60


def free_port() -> int:
    """Give a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(
    *args: str | Path, check: bool = True, timeout: float = UP_TIMEOUT_S, within: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run one command line verb to its end; on failure show what it printed.

    `within` are words that come before it: a program that becomes it.
    """
    words = [*within, *ARGOSY, *map(str, args)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        raise AssertionError(f"argosy {' '.join(map(str, args))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def chat_head(length: int) -> bytes:
    """Give the head of a chat request with a body of so many bytes, for clients that write to a socket themselves."""
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        "host: localhost",
        "connection: close",
        "content-type: application/json",
        f"content-length: {length}",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


class Laptop:
    """One running instance."""

    def __init__(self, state: Path, port: int, within: tuple[str, ...] = ()) -> None:
        self.state = state
        self._within = within
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def up(self, *files: Path | str) -> str:
        """Make the files true, and give what `up` printed."""
        words = ("up", "-d", "--port", str(self.port), "--state-dir", self.state, *files)
        return run(*words, within=self._within).stdout

    def status(self) -> dict[str, Any]:
        """Give `argosy status --json`."""
        result: dict[str, Any] = json.loads(run("status", "--json", "--state-dir", self.state).stdout)
        return result

    def service(self, name: str = "smollm2") -> dict[str, Any]:
        """Give one service of the status, without the replicas that are leaving."""
        found: dict[str, Any] = next(service for service in self.status()["services"] if service["name"] == name)
        return {**found, "replicas": [replica for replica in found["replicas"] if not replica["leaving"]]}

    def pid(self, component: str) -> int:
        """Give the process id of a component."""
        return next(int(part["pid"]) for part in self.status()["components"] if part["name"] == component)

    def down(self) -> None:
        """End it."""
        run("down", "--state-dir", self.state)

    def wait_until(self, holds: Callable[[dict[str, Any]], bool], *, timeout: float = 30) -> dict[str, Any]:
        """Give the first status that `holds` is true of."""
        seen: dict[str, Any] = {}

        def held() -> bool:
            seen.clear()
            seen.update(self.status())
            return holds(seen)

        wait_for(held, f"never came true of the status: {holds}", within_s=timeout)
        return seen


@contextlib.contextmanager
def laptop(folder: Path, *files: Path | str, within: tuple[str, ...] = ()) -> Iterator[Laptop]:
    """Serve the files on a free port until the block ends, then check that nothing is left.

    `within` are words of a program that becomes `argosy up`.
    """
    instance = Laptop(folder, free_port(), within)
    try:
        instance.up(*files)
        yield instance
    finally:
        instance.down()
    wait_for(lambda: not processes_of(folder), "a process outlived `argosy down`")


def processes_of(folder: Path) -> dict[int, str]:
    """Give the processes, by id, that belong to the instance whose state directory is `folder`.

    A child is told its store's address or log folder by environment or command line, and inherits both; it is ours
    when either names the folder.
    """
    found: dict[int, str] = {}
    needle = os.fsencode(folder)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            if needle in command or needle in (entry / "environ").read_bytes():
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")[:200]
        except OSError:
            continue  # it ended while we looked
    return found
