"""Runs a program that starts processes of its own, and ends them all when the supervisor is gone.

    python -I -S keeper.py -- PROGRAM ARGS…

Rules of this file:

- It imports nothing of Argosy and little else.
- The launcher has made it the leader of a process group, and has the kernel kill it at the supervisor's death. Of the
  program's own processes the kernel knows nothing. So it asks for SIGHUP instead, before it starts anything, and then
  kills the group, itself with it.
- SIGTERM and SIGINT go on to the program alone. Its end is the end of this process, with the same code.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
ORPHANED = 125
NOT_FOUND = 127
WAITED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def main() -> int:
    """Run the program to its end and give its exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGHUP), 0, 0, 0) != 0:
        return ORPHANED
    child = os.fork()
    if child == 0:
        become(sys.argv[2:])
    while True:
        got = signal.sigwait(WAITED)
        if got == signal.SIGHUP:
            os.killpg(os.getpgrp(), signal.SIGKILL)
        elif got == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
        else:
            os.kill(child, got)


def become(arguments: list[str]) -> None:
    """Be the program, or end."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execvp(arguments[0], arguments)  # noqa: S606 (no shell is wanted)
    except OSError as error:
        sys.stderr.write(f"cannot start {arguments[0]}: {error.strerror}\n")
    os._exit(NOT_FOUND)


if __name__ == "__main__":
    sys.exit(main())
