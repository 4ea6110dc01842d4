"""The first process of a node: all that runs on the node ends with it, however it ends.

    python -I -S first_process.py ARGV…

Rules of this file:

- A node is a process namespace. When its first process ends, the kernel kills every other in it: no daemon of a pod,
  whatever it did to get away, outlives its node.
- Outside stands one process that waits, and is tied to whoever started it (launcher.py); SIGTERM goes through to ARGV.
- Inside, the first process starts ARGV, ends with it, and reaps what others leave behind.
"""

import ctypes
import os
import signal
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
NEWPID, NEWNS = 0x20000000, 0x00020000
REC, PRIVATE = 0x4000, 1 << 18
SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    """Run ARGV as a node, and give its exit code."""
    if LIBC.unshare(NEWPID | NEWNS) != 0:
        sys.stderr.write(f"no process namespace can be made: {os.strerror(ctypes.get_errno())}\n")
        return 1
    alive, held = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    first = os.fork()
    if first:
        return follow(first)
    os.close(held)
    tie()
    try:
        os.read(alive, 1)
    except BlockingIOError:  # the one outside still holds the pipe, so it was there when we were tied to it
        return run(argv)
    return 1


def run(argv: list[str]) -> int:
    """Be the first process."""
    LIBC.mount(b"", b"/", b"", ctypes.c_ulong(REC | PRIVATE), None)
    LIBC.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(0), None)
    child = os.fork()
    if child == 0:
        os.execvp(argv[0], argv)  # noqa: S606 (no shell is wanted)
    return follow(child)


def follow(child: int) -> int:
    """Wait for a child, and reap whoever else ends; give its exit code as shells count."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status) % 256


def tie() -> None:
    """Die with the parent."""
    LIBC.prctl(SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
