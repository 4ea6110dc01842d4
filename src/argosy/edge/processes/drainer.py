"""Runs Envoy in a pod, and ends it when nothing that it serves is cut by that.

    python -I -S drainer.py ADMIN_IP:PORT ACCEPT_S DRAIN_S -- ENVOY ARGS…

Rules of this file:

- It imports nothing of Argosy and little else: one of these stands beside every Envoy.
- SIGTERM or SIGINT begins the drain. Envoy's health fails, so that readiness says no and every answer asks its client
  to close the connection. New connections are taken for ACCEPT_S more, since whoever sends them hears of it late, and
  on for as long as any come: Envoy is ended when no request is under way and none has come for a while, and after
  DRAIN_S from the beginning in any case.
- A second signal ends it at once. Envoy's end is the end of this process, with the same code, and the other way round.

Source: Envoy, "Draining"; the statistic is that of `decide.translation.listeners`.
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path

STATISTIC = "http.gateway.downstream_"
POLL_S = 0.1
QUIET_S = 2.0
"""How long nothing must have come before Envoy is ended; no longer than connections are waited for."""
ADMIN_TIMEOUT_S = 1.0
KILL_S = 5.0
MAX_ANSWER_BYTES = 65536
STOP = (signal.SIGTERM, signal.SIGINT)
LAUNCHER = Path(__file__).with_name("launcher.py")


class Envoy:
    """The child. Its end comes with SIGCHLD, which like SIGTERM and SIGINT is blocked and waited for."""

    def __init__(self, command: list[str]) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP, signal.SIGCHLD))
        launch = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), "--", *command]
        self.exit_code: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execv(launch[0], launch)  # noqa: S606 (no shell is wanted)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for its end, at most so long; say whether a signal to stop came before."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self.exit_code is None:
            left = 3600.0 if deadline is None else deadline - time.monotonic()
            got = signal.sigtimedwait((*STOP, signal.SIGCHLD), max(0.0, left))
            self._reap()
            if got is not None and got.si_signo in STOP:
                return True
            if got is None and deadline is not None:
                return False
        return False

    def end(self) -> None:
        """End it now."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.exit_code is None:
                os.kill(self._pid, number)
                deadline = time.monotonic() + KILL_S
                while self.exit_code is None and time.monotonic() < deadline:
                    self.wait(deadline - time.monotonic())

    def _reap(self) -> None:
        """Take in ends; as the first process of a container this one is told of strangers' too."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                if ended[0] == self._pid:
                    code = os.waitstatus_to_exitcode(ended[1])
                    self.exit_code = code if code >= 0 else 128 - code
        except ChildProcessError:
            return


def main() -> int:
    """Run Envoy to its end and give its exit code."""
    admin, accept_s, drain_s, command = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[5:]
    envoy = Envoy(command)
    if envoy.wait() and envoy.exit_code is None:
        drain(envoy, admin, accept_s, drain_s)
        envoy.end()
    return envoy.exit_code or 0


def drain(envoy: Envoy, admin: str, accept_s: float, drain_s: float) -> None:
    """Return when Envoy may be ended, or has ended."""
    begun = time.monotonic()
    ask(admin, "POST", "/healthcheck/fail")
    say(f"draining: connections are taken for {accept_s:g} s more, running requests have {drain_s:g} s")
    told = envoy.wait(min(accept_s, drain_s))
    before, quiet_since = None, time.monotonic()
    while not told and envoy.exit_code is None:
        counts, now = requests(admin), time.monotonic()
        if counts is None or counts[0] or counts != before:
            before, quiet_since = counts, now
        elif now - quiet_since >= min(QUIET_S, accept_s):
            say(f"drained in {now - begun:.1f} s")
            return
        if now - begun >= drain_s:
            say(f"ends with {counts[0] if counts else 'nobody knows how many'} requests under way")
            return
        told = envoy.wait(POLL_S)


def requests(admin: str) -> tuple[int, int] | None:
    """Give the requests that are under way, and all requests and connections so far; None when Envoy does not say."""
    page = ask(admin, "GET", f"/stats?filter=^{STATISTIC}(rq_active|rq_total|cx_total)$")
    found = dict(line.split(": ", 1) for line in page.splitlines() if line.startswith(STATISTIC))
    try:
        active, *totals = (int(found[f"{STATISTIC}{name}"]) for name in ("rq_active", "rq_total", "cx_total"))
    except (KeyError, ValueError):
        # Before the first configuration there is no listener and no such statistic.
        return (0, 0) if "200 OK" in page else None
    return active, sum(totals)


def ask(admin: str, method: str, path: str) -> str:
    """Give what the admin interface answers, head and all; nothing when it does not."""
    host, _, port = admin.rpartition(":")
    request = f"{method} {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    answer = b""
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ADMIN_TIMEOUT_S) as connection:
            connection.sendall(request.encode())
            while len(answer) < MAX_ANSWER_BYTES and (piece := connection.recv(8192)):
                answer += piece
    except OSError as error:
        say(f"the admin interface at {admin} does not answer: {error}")
    return answer.decode(errors="replace")


def say(text: str) -> None:
    """Write a line to the pod's log."""
    sys.stderr.write(f"argosy envoy: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
