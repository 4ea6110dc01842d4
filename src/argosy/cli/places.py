"""Where a verb goes: an instance on this machine, or a cluster; the same rule for all verbs (`place`).

1. What the command line says: `--store`, `--state-dir`, or a cluster by `--cluster`, `--context` or `--kubeconfig`.
2. `$ARGOSY_STORE`; else a cluster where `-n` names a namespace.
3. The instance on this machine, where one runs in `$ARGOSY_STATE_DIR`, or else in its usual folder.
4. The current context of the kubeconfig, where there is one; in a pod the pod's own cluster.

With 3 and 4 the first line on standard error says which place it is.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from argosy.api.names import SYSTEM_NAMESPACE
from argosy.apps.local.state import StateDirectory
from argosy.base.errors import NotNow, UserError
from argosy.cli.options import IN_CLUSTER, state_directory
from argosy.edge.processes.engine_python import EnginePython

if TYPE_CHECKING:
    from argosy.apps.fleet.fleet import Fleet
    from argosy.edge.kube.kubeconfig import Settings

HOW_TO_CHOOSE: Final = "--state-dir chooses an instance on this machine, --context or --kubeconfig a cluster"
_CLUSTER_OPTIONS: Final = ("cluster", "context", "kubeconfig")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a verb goes: an instance on this machine (`state`), or a cluster (`settings`)."""

    name: str
    namespace: str | None
    state: StateDirectory | None = None
    address: str = ""
    settings: "Settings | None" = None

    @property
    def on_cluster(self) -> bool:
        """Whether it is a cluster."""
        return self.settings is not None

    @property
    def engine(self) -> EnginePython | None:
        """What serves with vLLM there, on this machine."""
        return self.state.engine_python if self.state else None

    @contextlib.asynccontextmanager
    async def open(self) -> "AsyncIterator[Fleet]":
        """Open it. Raises NotNow, with what to do, when it does not answer."""
        from argosy.apps.fleet.fleet import open_cluster, open_laptop  # noqa: PLC0415 (other verbs do without)
        from argosy.edge.kube.port import StoreUnavailable, Withheld  # noqa: PLC0415

        try:
            if self.settings is not None:
                async with open_cluster(self.settings, namespace=self.namespace) as fleet:
                    yield fleet
            else:
                pid = self.state.supervisor_pid() if self.state else None
                async with open_laptop(self.address, supervisor_pid=pid, namespace=self.namespace) as fleet:
                    yield fleet
        except Withheld as error:
            raise NotNow(
                f"{self.name}: {error}; is Argosy installed there, and may you read it? argosy install"
            ) from error
        except StoreUnavailable as error:
            fix = "is the context right, and the network there?" if self.on_cluster else "try again in a moment"
            raise NotNow(f"{self.name}: {error}; {fix}") from error


def names_a_place(args: argparse.Namespace) -> bool:
    """Say whether the command line itself says where a verb goes."""
    return bool(args.namespace) or any(getattr(args, name) for name in ("store", "state_dir", *_CLUSTER_OPTIONS))


def place(args: argparse.Namespace, *, quiet: bool = False) -> Place:
    """Give the place that a verb goes to, by the rule above. Raises UserError, or NotNow where there is none."""
    chosen = [
        f"--{name.replace('_', '-')}" for name in ("store", "state_dir", *_CLUSTER_OPTIONS) if getattr(args, name)
    ]
    if args.store and len(chosen) > 1:
        raise UserError(f"{' and '.join(chosen)} choose different places; give one")
    if args.state_dir and len(chosen) > 1:
        raise UserError(f"{' and '.join(chosen)}: the first is on this machine, the rest a cluster; choose one")
    if args.store:
        return _store_place(args, args.store)
    if args.state_dir is not None:
        return _instance(args)
    if chosen:
        return _cluster(args)
    if os.environ.get("ARGOSY_STORE"):
        return _store_place(args, os.environ["ARGOSY_STORE"])
    if args.namespace:
        return _cluster(args)
    found = _nearest(args)
    if not quiet:
        print(f"argosy: {found.name}; {HOW_TO_CHOOSE}", file=sys.stderr)
    return found


def place_for_files(args: argparse.Namespace, files: Sequence[str]) -> Place:
    """Give the place that a verb takes files to; where there is none, what is wrong with the files is said first."""
    from argosy.cli.files import load_files  # noqa: PLC0415 - verbs without files do not pay for it

    try:
        return place(args)
    except NotNow:
        load_files(files)
        raise


def cluster(args: argparse.Namespace) -> Place:
    """Give the cluster that a verb goes to: by the same rule, but that no instance on this machine is one."""
    args.namespace = SYSTEM_NAMESPACE
    named = args.context or args.kubeconfig
    if args.store and named:
        raise UserError("--store and --context or --kubeconfig choose different places; give one")
    address = args.store or (None if named else os.environ.get("ARGOSY_STORE"))
    found = _store_place(args, address) if address else _cluster(args)
    if not found.on_cluster:
        raise UserError(f"{found.name} is an instance on this machine, which has all it needs; name a cluster")
    return found


def _nearest(args: argparse.Namespace) -> Place:
    state = state_directory(args)
    if state.supervisor_pid() is not None:
        return _instance(args)
    files = kubeconfig_files(args.kubeconfig, os.environ)
    if any(file.exists() for file in files):
        from argosy.edge.kube.kubeconfig import read_kubeconfigs  # noqa: PLC0415 (laptops do without)

        kubeconfig = read_kubeconfigs(files)
        if kubeconfig is not None and kubeconfig.current_context:
            return _cluster(args)
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return _store_place(args, IN_CLUSTER)
    where = ", ".join(str(path) for path in files)
    raise NotNow(
        f"nothing is running in {state.root}, and no kubeconfig names a cluster ({where}); start an instance with "
        f"argosy up FILE; {HOW_TO_CHOOSE}"
    )


def _running_instance(args: argparse.Namespace) -> tuple[StateDirectory, int]:
    """Give the instance and its supervisor's process id. Raises NotNow when it is not running."""
    state = state_directory(args)
    pid = state.supervisor_pid()
    if pid is None:
        raise NotNow(f"nothing is running in {state.root}; start it with: argosy up FILE")
    return state, pid


def _instance(args: argparse.Namespace) -> Place:
    state, _ = _running_instance(args)
    namespace = None if getattr(args, "all_namespaces", False) else args.namespace
    return Place(name=f"the instance in {state.root}", namespace=namespace, state=state, address=state.address)


def _cluster(args: argparse.Namespace) -> Place:
    from argosy.edge.kube.kubeconfig import read_kubeconfigs  # noqa: PLC0415 (laptops do without)

    files = kubeconfig_files(args.kubeconfig, os.environ)
    kubeconfig = read_kubeconfigs(files)
    if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ and not (args.kubeconfig or args.context):
        return _store_place(args, IN_CLUSTER)
    if kubeconfig is None:
        where = ", ".join(str(path) for path in files)
        raise UserError(f"there is no kubeconfig ({where}); name one with --kubeconfig, or set KUBECONFIG")
    settings = kubeconfig.settings(args.context)
    return _at(args, settings, f'context "{settings.config.context_name}"')


def _store_place(args: argparse.Namespace, address: str) -> Place:
    from argosy.edge.kube.addresses import cluster_settings  # noqa: PLC0415 (other verbs do without)

    if address.startswith("unix://"):
        path = Path(address.removeprefix("unix://"))
        return Place(name=address, namespace=args.namespace, state=StateDirectory(path.parent), address=address)
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}") for name in ("HOST", "PORT"))
    return _at(args, cluster_settings(address, cluster_host=host, cluster_port=port), address)


def _at(args: argparse.Namespace, settings: "Settings", name: str) -> Place:
    everything = getattr(args, "all_namespaces", False)
    namespace = None if everything else args.namespace or settings.config.namespace
    about = "all namespaces" if everything else f"namespace {namespace}"
    return Place(name=f"{name} ({settings.config.cluster.server}), {about}", namespace=namespace, settings=settings)


def kubeconfig_files(named: str | None, environment: Mapping[str, str]) -> Sequence[Path]:
    """Give the files of the kubeconfig: the one that is named, or those of $KUBECONFIG, or the usual one."""
    if named:
        return [Path(named).expanduser()]
    several = [Path(name) for name in environment.get("KUBECONFIG", "").split(os.pathsep) if name]
    return several or [Path.home() / ".kube" / "config"]
