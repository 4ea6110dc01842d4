"""`argosy logs`: what replicas and components wrote."""

import argparse
import asyncio
import contextlib
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from argosy.api.workers import workload_names
from argosy.apps.local.state import StateDirectory, disk_error
from argosy.base.errors import NotNow, UserError
from argosy.cli.options import WHERE, add_place, state_directory
from argosy.cli.places import Place, place

POLL_S = 0.2


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "logs",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}, each line with its name where there are several.",
        epilog="examples: argosy logs · argosy logs smollm2-0 -f · argosy logs envoy --tail 20 · argosy logs -n t a\n"
        f"{WHERE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name",
        nargs="?",
        metavar="SERVICE",
        help="a service (all its replicas), a replica, or a component: operator, gateway, picker, envoy; all when left "
        "out",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on printing what is written from now on")
    parser.add_argument("--tail", type=int, default=100, metavar="N", help="lines to begin with (default 100)")
    parser.add_argument(
        "-p",
        "--previous",
        action="store_true",
        help="on a cluster: of containers that have ended, and were started again; a laptop's logs go on",
    )
    add_place(parser, all_namespaces=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the last lines of the logs, and follow them when asked to."""
    if args.state_dir is not None:
        return _print_files(state_directory(args), args)  # of an instance that has ended, too: they say why
    try:
        found = place(args)
    except NotNow:
        state = state_directory(args)
        if not state.logs.is_dir():
            raise
        return _print_files(state, args)
    if found.state is not None:
        return _print_files(found.state, args)
    return asyncio.run(_print_pods(found, args))


async def _print_pods(found: Place, args: argparse.Namespace) -> int:
    from argosy.apps.fleet.logs import Line, chosen, list_pods, show_logs  # noqa: PLC0415 (laptops do without)
    from argosy.edge.kube.pod_proxy import LogOptions  # noqa: PLC0415

    options = LogOptions(tail=max(0, args.tail), follow=args.follow, previous=args.previous)
    async with found.open() as fleet:
        pods = await list_pods(fleet)
        alone = len(chosen(pods, args.name, fleet.namespace)) == 1 and not args.follow

        def show(line: Line) -> None:
            if line.note:
                print(f"{line.pod}  {line.text.decode()}", file=sys.stderr)
            else:
                text = line.text.decode(errors="replace")
                print(text if alone else f"{line.pod}  {text}", flush=args.follow)

        if await show_logs(fleet, args.name, options, show):
            return 0
        if args.name:
            known = ", ".join(pod.metadata.name for pod in chosen(pods, None, fleet.namespace)) or "none"
            raise UserError(f"there is no pod of {args.name!r} in {found.name}; there are: {known}")
        raise NotNow(f"there are no pods of ours in {found.name}; see: argosy status -A")


def _print_files(state: StateDirectory, args: argparse.Namespace) -> int:
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
    namespace, _, bare = name.rpartition("/")
    inside = [file for file in files if namespace in ("", file.parent.name)]
    workloads = (*workload_names(bare), f"argosy-{bare}")
    return [file for file in inside if file.stem == bare or file.stem.rpartition("-")[0] in workloads]


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
