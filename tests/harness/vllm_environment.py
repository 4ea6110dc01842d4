"""vLLM's CPU build with NIXL, and the embedded model as it reads it: made once, kept in a cache outside the repository.

Rules of this file:

- An environment lies in a folder named for the content of everything that it is made of, so a changed lock is installed
  anew and an old checkout finds its own again. Whoever comes second waits for the first.
- vLLM's CPU build wants PyTorch's, which package indexes do not have: its wheel lies in a folder that `ARGOSY_WHEELS`
  or pip's `PIP_FIND_LINKS` names. Whoever has none has no environment, and the reason.
"""

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from argosy.edge.weights.source import find_weights
from harness.engine import WEIGHTS
from harness.go_programs import CACHE

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "locks" / "vllm.txt"
PLUGIN = ROOT / "tests" / "real" / "vllm" / "plugin"
CONVERTER = ROOT / "tests" / "harness" / "gguf_to_hf.py"
UV = Path(sys.executable).with_name("uv")
WHEELS = "ARGOSY_WHEELS"
"""The environment variable that names folders of wheels, with colons between them."""
COST = "vLLM, NIXL, PyTorch and 147 more packages (500 MB to download, 3 GB on the disk)"
STEP_TIMEOUT_S = 1800


@functools.cache
def folder() -> Path:
    """Where it lies once it is made."""
    inputs = (LOCK, ROOT / "locks" / "weights.txt", CONVERTER, *sorted(PLUGIN.glob("*.*")))
    content = b"".join(path.read_bytes() for path in inputs) + sys.version.encode()
    return CACHE.parent / f"vllm-{hashlib.sha256(content).hexdigest()[:12]}"


def python() -> Path:
    """The Python that has vLLM."""
    return folder() / "bin" / "python"


def model() -> Path:
    """The embedded model's folder, as Hugging Face keeps models."""
    return folder() / "smollm2"


def built() -> bool:
    """Say whether it is there."""
    return folder().exists()


def cannot_build_reason() -> str | None:
    """Say why there can be no vLLM here, if so."""
    pinned = next(line.split()[0] for line in LOCK.read_text().splitlines() if line.startswith("torch=="))
    name = pinned.replace("==", "-")
    wheel = f"{name}-cp{sys.version_info.major}{sys.version_info.minor}-*_x86_64.whl"
    if any(found for place in _wheel_folders() for found in place.glob(wheel)):
        return None
    return f"no folder that {WHEELS} names has PyTorch's CPU build, {wheel}"


def build() -> None:
    """Make it unless it is there, and say what and how long it takes."""
    reason = cannot_build_reason()
    if built() or reason is not None:
        return
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with (CACHE.parent / "vllm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built():
            print(f"installing {COST} …", flush=True)
            begun = time.monotonic()
            _build(folder().with_suffix(".unfinished"))
            print(f"installed in {time.monotonic() - begun:.0f} s, kept in {folder()}", flush=True)


def _build(unfinished: Path) -> None:
    shutil.rmtree(unfinished, ignore_errors=True)
    _run(UV, "venv", "--quiet", "--relocatable", "--python", sys.executable, unfinished)
    at = unfinished / "bin" / "python"
    install = (UV, "pip", "install", "--quiet", "--python", at, "--no-deps")
    links = [word for place in _wheel_folders() for word in ("--find-links", place)]
    _run(*install, *links, "--require-hashes", "-r", LOCK)
    # A build leaves files beside what it builds.
    source = shutil.copytree(PLUGIN, unfinished / "plugin")
    _run(*install, "--no-build-isolation", source)
    _run(at, CONVERTER, find_weights(WEIGHTS), unfinished / "smollm2")
    unfinished.rename(folder())


def _run(*words: str | Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    subprocess.run(words, env=environment, timeout=STEP_TIMEOUT_S, check=True)


def _wheel_folders() -> list[Path]:
    named = os.environ.get(WHEELS, "").split(os.pathsep) + os.environ.get("PIP_FIND_LINKS", "").split()
    return [place for name in named if name and (place := Path(name)).is_dir()]
