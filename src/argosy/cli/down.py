"""`argosy down`: ends a running instance."""

import argparse
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from argosy.cli.options import add_state_directory, state_directory

POLL_S = 0.05


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser("down", help=summary, description=summary, epilog="example: argosy down")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="seconds until what still runs is killed (default 60)"
    )
    add_state_directory(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask the supervisor to end, and wait until it has."""
    state = state_directory(args)
    pid = state.supervisor_pid()
    if pid is None:
        print(f"nothing is running in {state.root}")
        return 0
    print("ending: running answers finish first …", flush=True)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + args.timeout
    while state.supervisor_pid() == pid or _runs(pid):
        if time.monotonic() > deadline:
            # Its children die with it: the kernel sends each the signal that they asked for.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            print(f"killed after {args.timeout:.0f} s")
            return 1
        time.sleep(POLL_S)
    if state.socket.exists():
        print("it was killed before it had ended; answers may have been cut")
        return 1
    print("done")
    return 0


def _runs(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has asked for its exit status has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")
