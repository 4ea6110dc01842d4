"""Checks whether a test cluster can run here, builds what tests need, or builds a cluster's programs and starts one.

It has three nodes, on which Argosy's images are the programs of this checkout, and runs until Ctrl-C. Tests need
vLLM besides.

Usage: `python scripts/test_cluster.py check|build|up`, in the environment that `scripts/bootstrap.py cluster` makes.
"""

import contextlib
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from harness import control_plane, go_programs, nodes, vllm_environment

GUIDE = """
KUBECONFIG={kubeconfig}
In the cluster's network, which has no other door:
  nsenter --net=/proc/{pid}/ns/net kubectl --kubeconfig={kubeconfig} get nodes
Logs and data: {folder}. Ctrl-C ends it and removes them."""


def main(verb: str) -> None:
    """Do what the verb says."""
    if verb == "build":
        vllm_environment.build()
    reason = control_plane.cannot_run_reason() or nodes.cannot_run_reason()
    if reason is not None:
        print(f"there can be no test cluster here: {reason}", file=sys.stderr)
        sys.exit(0 if verb == "build" else 1)  # tests without a cluster are skipped, with the same reason
    if verb == "check":
        return
    go_programs.build()
    if verb == "build":
        return
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background jobs begin with it ignored
        signal.signal(number, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory(prefix="argosy-cluster-") as name,
        control_plane.control_plane(Path(name)) as up,
        nodes.running_nodes(up),
    ):
        print(GUIDE.format(kubeconfig=up.kubeconfig, pid=up.process_id, folder=name), flush=True)
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
