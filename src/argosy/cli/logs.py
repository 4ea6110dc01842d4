"""`argosy logs`: what replicas and components wrote."""

import argparse
import contextlib
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from argosy.apps.local.state import disk_error
from argosy.base.errors import NotNow, UserError
from argosy.cli.options import add_state_directory, state_directory

POLL_S = 0.2


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "logs",
        help=summary,
        description=summary,
        epilog="examples: argosy logs · argosy logs smollm2-0 -f · argosy logs envoy --tail 20",
    )
    parser.add_argument("name", nargs="?", help="a replica or component; all of them when left out")
    parser.add_argument("-f", "--follow", action="store_true", help="go on printing what is written from now on")
    parser.add_argument("--tail", type=int, default=100, metavar="N", help="lines to begin with (default 100)")
    add_state_directory(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the last lines of the logs, and follow them when asked to."""
    state = state_directory(args)
    try:
        list(state.root.iterdir() if state.root.exists() else ())
        files = _files(state.logs, args.name)
    except OSError as error:
        raise disk_error(state.root, error) from error
    folder = state.logs
    if args.name and not files:
        known = ", ".join(sorted(file.stem for file in folder.glob("*/*.log"))) or "none"
        raise UserError(f"there is no log of {args.name!r}; there are: {known}")
    if not files:
        raise NotNow(f"there are no logs in {folder}; start something with: argosy up")
    prefixed = len(files) > 1
    positions = {file: _print_tail(file, args.tail, prefixed=prefixed) for file in files}
    while args.follow:
        for file in _files(folder, args.name):
            with contextlib.suppress(FileNotFoundError):
                positions[file] = _print_new(file, positions.get(file, 0), prefixed=prefixed)
        sys.stdout.flush()
        time.sleep(POLL_S)
    return 0


def _files(folder: Path, name: str | None) -> list[Path]:
    """Give the logs of a pod, of all pods of a service, or of a component; of all without a name."""
    files = sorted(folder.glob("*/*.log"))
    if name is None:
        return files
    return [file for file in files if file.stem == name or file.stem.rpartition("-")[0] in (name, f"argosy-{name}")]


def _print_lines(file: Path, lines: list[bytes], *, prefixed: bool) -> None:
    for line in lines:
        text = line.decode(errors="replace")
        print(f"{file.stem}  {text}" if prefixed else text)


def _print_tail(file: Path, count: int, *, prefixed: bool) -> int:
    with file.open("rb") as handle:
        lines = [line.rstrip(b"\n") for line in deque(handle, maxlen=max(0, count))]
        _print_lines(file, lines, prefixed=prefixed)
        return handle.tell()


def _print_new(file: Path, position: int, *, prefixed: bool) -> int:
    with file.open("rb") as handle:
        if handle.seek(0, 2) < position:
            position = 0  # the log was cut because it had grown long
        handle.seek(position)
        text = handle.read()
    whole = text.rfind(b"\n") + 1
    _print_lines(file, text[:whole].split(b"\n")[:-1], prefixed=prefixed)
    return position + whole
