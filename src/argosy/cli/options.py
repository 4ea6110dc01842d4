"""Options that several verbs share, and the environment variables behind them."""

import argparse
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from argosy.apps.local.state import StateDirectory
from argosy.base.errors import NotNow, UserError

if TYPE_CHECKING:
    from argosy.edge.kube.port import ObjectStore


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
    if args.state_dir == "":
        raise UserError("--state-dir is empty; name a folder, or leave it out")
    chosen = args.state_dir or os.environ.get("ARGOSY_STATE_DIR")
    if not chosen:
        base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        chosen = str(Path(base) / "argosy")
    return StateDirectory(Path(chosen).expanduser().absolute())


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add `--store`."""
    parser.add_argument(
        "--store",
        default=os.environ.get("ARGOSY_STORE") or ("in-cluster" if "KUBERNETES_SERVICE_HOST" in os.environ else ""),
        metavar="ADDRESS",
        help="the object store: unix:///PATH, kubeconfig:///PATH or in-cluster (default: $ARGOSY_STORE; in-cluster in "
        "a pod)",
    )


def object_store(address: str) -> "contextlib.AbstractAsyncContextManager[ObjectStore]":
    """Give the object store at an address, to be entered. Raises UserError for an address that is none."""
    from argosy.edge.kube.addresses import FORMS, store_at  # noqa: PLC0415 (other verbs do without)

    if not address:
        raise UserError(f"no object store: give --store ({FORMS}), or set ARGOSY_STORE")
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}") for name in ("HOST", "PORT"))
    return store_at(address, cluster_host=host, cluster_port=port)


def running_instance(args: argparse.Namespace) -> tuple[StateDirectory, int]:
    """Give the instance and its supervisor's process id. Raises NotNow when it is not running."""
    state = state_directory(args)
    pid = state.supervisor_pid()
    if pid is None:
        raise NotNow(f"nothing is running in {state.root}; start it with: argosy up FILE")
    return state, pid
