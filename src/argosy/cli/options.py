"""Options that several verbs share, and the environment variables behind them."""

import argparse
import os
from pathlib import Path

from argosy.apps.local.state import StateDirectory
from argosy.base.errors import UserError


def add_state_directory(parser: argparse.ArgumentParser) -> None:
    """Add `--state-dir`."""
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        help="where the instance keeps its socket and logs (default: $ARGOSY_STATE_DIR, else ~/.local/state/argosy); "
        "one instance per directory",
    )


def state_directory(args: argparse.Namespace) -> StateDirectory:
    """Give the instance that a verb is about."""
    chosen = args.state_dir or os.environ.get("ARGOSY_STATE_DIR")
    if not chosen:
        base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        chosen = str(Path(base) / "argosy")
    return StateDirectory(Path(chosen).expanduser().absolute())


def running_instance(args: argparse.Namespace) -> StateDirectory:
    """Give the instance, which must be running. Raises UserError otherwise."""
    state = state_directory(args)
    if state.supervisor_pid() is None:
        raise UserError(f"nothing is running in {state.root}; start it with: argosy up FILE")
    return state
