"""A program for pods of tests: tells over HTTP what it is and sees, and does as it is told. SIGTERM ends it.

python pod_program.py PORT [grpc]

Each path is a question; its parameters are in the query, its answer is JSON. With `grpc` it also says at PORT + 1 that
it serves, until the file /tmp/unhealthy is there.
"""

import errno
import json
import os
import signal
import socket
import stat
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit


def who() -> dict[str, Any]:
    """Say what the process is."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "user": os.getuid(),
        "group": os.getgid(),
        "groups": os.getgroups(),
        "host": socket.gethostname(),
        "folder": str(Path.cwd()),
        "environment": dict(os.environ),
        "capabilities": int(status["CapBnd"], 16),
        "effective": int(status["CapEff"], 16),
        "no_new_privileges": status["NoNewPrivs"] == "1",
    }


def read(path: str) -> str:
    """Give a file."""
    return Path(path).read_text()


def write(path: str, text: str = "x") -> str:
    """Write a file; say `written` or the name of the error."""
    try:
        Path(path).write_text(text)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "written"


def remove(path: str) -> None:
    """Remove a file."""
    Path(path).unlink()


def look(path: str) -> dict[str, Any]:
    """Say what stands at a path."""
    found = Path(path).stat()
    names = sorted(entry.name for entry in Path(path).iterdir()) if Path(path).is_dir() else None
    return {"mode": oct(stat.S_IMODE(found.st_mode)), "user": found.st_uid, "group": found.st_gid, "names": names}


def fetch(url: str) -> str:
    """Do a GET; give the answer, or the error."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 (of the test's choice)
            return str(answer.read().decode())
    except OSError as error:
        return f"failed: {error}"


def resolve(name: str) -> list[str]:
    """Give the addresses of a name."""
    try:
        found = socket.getaddrinfo(name, 80, socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror:
        return []
    return sorted({str(each[4][0]) for each in found})


def say(text: str) -> str:
    """Write a line to the log."""
    print(text, flush=True)
    return text


def end(code: str) -> None:
    """End at once."""
    os._exit(int(code))


QUESTIONS: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (who, read, write, remove, look, fetch, resolve, say, end)
}


class Handler(BaseHTTPRequestHandler):
    timeout = 2.0

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        try:
            if url.path == "/peer":
                answer: Any = self.client_address[0]
            else:
                answer = QUESTIONS[url.path.strip("/")](**dict(parse_qsl(url.query)))
        except (OSError, KeyError, TypeError) as error:
            self.reply(500, repr(error))
        else:
            self.reply(200, answer)

    def reply(self, status: int, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


def serve_health(port: int) -> None:
    """Say by gRPC that we serve."""
    import asyncio  # noqa: PLC0415 (only where it is asked for)

    import grpc  # noqa: PLC0415

    from argosy.edge.rpc.health_grpc import health_handler  # noqa: PLC0415

    async def run() -> None:
        server = grpc.aio.server()
        healthy = health_handler({""}, ready=lambda: not Path("/tmp/unhealthy").exists())  # noqa: S108
        server.add_generic_rpc_handlers((healthy,))
        server.add_insecure_port(f"0.0.0.0:{port}")
        await server.start()
        await server.wait_for_termination()

    asyncio.run(run())


class Server(ThreadingHTTPServer):
    daemon_threads = False  # so that whoever closes it waits for the answers under way


def stop(server: Server) -> None:
    say("asked to end")
    while Path("/tmp/busy").exists():  # noqa: S108
        time.sleep(0.02)
    server.shutdown()
    server.server_close()
    say("ended")
    os._exit(0)


if __name__ == "__main__":
    serving = Server(("", int(sys.argv[1])), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=stop, args=(serving,)).start())
    if "grpc" in sys.argv:
        threading.Thread(target=serve_health, args=(int(sys.argv[1]) + 1,), daemon=True).start()
    say("serving")
    serving.serve_forever()
    threading.Event().wait()
