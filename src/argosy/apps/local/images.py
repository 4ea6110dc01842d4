"""Image names → commands of this machine: the one thing that a laptop does otherwise than a cluster."""

import sys
from collections.abc import Mapping

from argosy.apps.local.state import StateDirectory
from argosy.decide.planning.components import GATEWAY_IMAGE, PICKER_IMAGE
from argosy.decide.planning.proxies import IMAGE as ENVOY_IMAGE
from argosy.edge.processes import keeper
from argosy.edge.processes.engine_python import EnginePython
from argosy.edge.processes.pods import LocalCommand, image_name
from argosy.engines import llama_cpp, vllm

KEEPER = (sys.executable, "-I", "-S", keeper.__file__, "--")
"""Stands before programs that start processes of their own."""


def local_commands(
    state: StateDirectory, *, bind_address: str, engine: EnginePython | None = None, home: str = ""
) -> Mapping[str, LocalCommand]:
    """Give the command for each image, by its name without the tag.

    Gateway listeners are bound to `bind_address`, since the pods of a laptop have no Service in front of them. vLLM
    runs in the Python `engine`, with what it keeps for itself in `home`.
    """
    python = (sys.executable, "-m", "argosy")
    store = {"ARGOSY_STORE": state.address}
    commands = {
        image_name(GATEWAY_IMAGE): LocalCommand(
            argv=(*python, "gateway"), extra_args=("--bind-address", bind_address), env=store
        ),
        image_name(PICKER_IMAGE): LocalCommand(
            argv=(*python, "picker"), extra_args=("--scheduling", str(state.scheduling)), env=store
        ),
        image_name(llama_cpp.IMAGE): LocalCommand(argv=(*python, "engine")),
        image_name(ENVOY_IMAGE): LocalCommand(argv=(*python, "envoy"), env={"ADMIN_ADDRESS": "$(POD_IP)"}),
    }
    if engine is not None:
        commands[image_name(vllm.CPU_IMAGE)] = LocalCommand(
            argv=(*KEEPER, engine.path, "-m", vllm.MODULE),
            env=engine.environment(home),
        )
    return commands
