"""Code blocks of the documents, with the place where each stands."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.laptop import ROOT


class Block(NamedTuple):
    """One block; `place` is FILE:LINE."""

    place: str
    language: str
    text: str


def blocks(*documents: str) -> Iterator[Block]:
    """Give the blocks of documents, which are named from the root of the repository, in order."""
    for document in documents:
        text = (ROOT / document).read_text()
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, found.start()) + 1
            yield Block(f"{document}:{line}", found[1], found[2])


def bash(text: str, kubeconfig: Path, *programs: Path) -> "subprocess.CompletedProcess[str]":
    """Run a block as its reader would, at the root of the repository, with a kubeconfig and folders of programs."""
    path = ":".join([*map(str, programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"KUBECONFIG": str(kubeconfig), "PATH": path}
    command = ("bash", "-euo", "pipefail", "-c", text)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
