"""Stands between a supervisor and its child for an instant, so that the child cannot outlive the supervisor.

    python -I -S launcher.py SUPERVISOR_PID -- ARGV…

Rules of this file:

- It imports nothing of Argosy and little else: it runs before every child.
- First it asks the kernel for SIGKILL at its parent's death, then it looks whether the parent is still the
  supervisor: a supervisor that died in between is seen by the second step, one that dies later by the first.
- The kernel's promise survives exec, and watches the *thread* that started this process (prctl(2),
  PR_SET_PDEATHSIG): children are started by the supervisor's main thread only.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
ORPHANED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127


def main() -> int:
    """Become the child, or give an exit code."""
    supervisor, arguments = int(sys.argv[1]), sys.argv[3:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        sys.stderr.write(f"cannot be tied to process {supervisor}: {os.strerror(ctypes.get_errno())}\n")
        return ORPHANED
    if os.getppid() != supervisor:
        return ORPHANED
    try:
        os.execvp(arguments[0], arguments)  # noqa: S606 (no shell is wanted)
    except FileNotFoundError:
        sys.stderr.write(f"cannot start {arguments[0]}: there is no such program\n")
        return NOT_FOUND
    except OSError as error:
        sys.stderr.write(f"cannot start {arguments[0]}: {error.strerror}\n")
        return NOT_EXECUTABLE


if __name__ == "__main__":
    sys.exit(main())
