"""An operator as a process, beside a control plane: whoever runs it ends it."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from harness.control_plane import ControlPlane


@contextlib.asynccontextmanager
async def operating(
    control_plane: ControlPlane, log: Path, *, metrics: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run an operator until the block ends, in the namespace that its Lease lies in."""
    control_plane.kubectl(
        "apply", "-f", "-", stdin='{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"argosy-system"}}'
    )
    store = f"kubeconfig://{control_plane.kubeconfig}"
    arguments = ("--store", store, "--metrics-address", metrics, "--identity", metrics)
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "argosy", "operator", *arguments), stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
