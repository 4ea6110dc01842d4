"""`argosy version`."""

import argparse
from typing import Any

from argosy import __version__


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser("version", help=summary, description=summary, epilog="example: argosy version")
    parser.set_defaults(run=run)


def run(_args: argparse.Namespace) -> int:
    """Print the version."""
    print(__version__)
    return 0
