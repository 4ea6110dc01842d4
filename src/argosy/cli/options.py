"""Options that several verbs share, and the environment variables behind them."""

import argparse
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from argosy.apps.local.state import StateDirectory
from argosy.base.errors import UserError

if TYPE_CHECKING:
    from argosy.edge.kube.port import ObjectStore

IN_CLUSTER: Final = "in-cluster"
WHERE: Final = """where it goes: what --store, --state-dir, or --cluster, --context or --kubeconfig say; else
$ARGOSY_STORE; else a cluster where -n is given; else the instance on this machine, where one runs; else the current
context of the kubeconfig"""


def add_state_directory(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Add `--state-dir`."""
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        help="where the instance keeps its socket and logs (default: $ARGOSY_STATE_DIR, else ~/.local/state/argosy); "
        "one instance per directory",
    )


def add_place(parser: argparse.ArgumentParser, *, all_namespaces: bool = False) -> None:
    """Add the options that choose a place; `all_namespaces` for verbs that may be about all of them."""
    group = parser.add_argument_group("where")
    group.add_argument("--cluster", action="store_true", help="a cluster, also where an instance runs on this machine")
    _add_kubeconfig(group)
    group.add_argument(
        "-n", "--namespace", metavar="NAME", help="a cluster: this namespace (default: the context's, else default)"
    )
    if all_namespaces:
        group.add_argument("-A", "--all-namespaces", action="store_true", help="every namespace, as on a laptop")
    add_state_directory(group)
    add_store(group, default=None)


def add_files(parser: argparse.ArgumentParser, *, needed: bool = True) -> None:
    """Add files, as `-f FILE` or by themselves; `files_of` gives both."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="YAML or JSON with LLMServices; - is standard input")
    parser.add_argument(
        "-f", "--filename", action="append", default=[], metavar="FILE", help="the same, as kubectl has it"
    )
    parser.set_defaults(files_needed=needed)


def files_of(args: argparse.Namespace) -> list[str]:
    """Give the files that were named. Raises UserError when there are none and a verb needs some."""
    files = [*args.files, *args.filename]
    if not files and args.files_needed:
        raise UserError("no file; name one, such as examples/smollm2.yaml, or - for standard input")
    return files


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a cluster, for verbs that are about nothing else."""
    group = parser.add_argument_group("where")
    _add_kubeconfig(group)
    add_store(group, default=None)


def _add_kubeconfig(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--context", metavar="CONTEXT", help="a cluster: this context of the kubeconfig, not its current one"
    )
    group.add_argument(
        "--kubeconfig", metavar="FILE", help="a cluster: as this file says (default: $KUBECONFIG, else ~/.kube/config)"
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


def store_of_environment() -> str:
    """Give the address of the object store that the environment names; empty where it names none."""
    return os.environ.get("ARGOSY_STORE") or (IN_CLUSTER if "KUBERNETES_SERVICE_HOST" in os.environ else "")


def add_store(parser: "argparse.ArgumentParser | argparse._ArgumentGroup", *, default: str | None = "") -> None:
    """Add `--store`; its default is what the environment names unless another is given."""
    parser.add_argument(
        "--store",
        default=store_of_environment() if default == "" else default,
        metavar="ADDRESS",
        help="the object store: unix:///PATH, kubeconfig:///PATH or in-cluster (default: $ARGOSY_STORE; in-cluster in "
        "a pod)",
    )


def share(text: str) -> float:
    """Read a share, 0 to 1, for argparse."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1")
    return found


def log_to_stderr() -> None:
    """Have a process in a pod write its log, without a line for every request to the API server."""
    import logging  # noqa: PLC0415 (other verbs do without)

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)


def has_one_writer(address: str) -> bool:
    """Say whether a store, by its address, is a laptop's, which each of its processes serves alone."""
    return address.startswith("unix://")


def object_store(
    address: str, may_write: "Callable[[], bool] | None" = None
) -> "contextlib.AbstractAsyncContextManager[ObjectStore]":
    """Give the object store at an address, to be entered. Raises UserError for an address that is none.

    `may_write` is asked before each write to an API server.
    """
    from argosy.edge.kube.addresses import FORMS, store_at  # noqa: PLC0415 (other verbs do without)

    if not address:
        raise UserError(f"no object store: give --store ({FORMS}), or set ARGOSY_STORE")
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}") for name in ("HOST", "PORT"))
    return store_at(address, cluster_host=host, cluster_port=port, may_write=may_write)
