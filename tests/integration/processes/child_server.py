"""A child for the tests: an HTTP server that files in a folder make unready, deaf or slow; SIGTERM ends it gracefully.

python child_server.py HOST PORT FOLDER [ignore-term]
"""

import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[3])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/ready":
            self.answer(503 if (FOLDER / "unready").exists() else 200, "warming up")
        elif self.path == "/live":
            self.answer(500 if (FOLDER / "dead").exists() else 200, "alive")
        elif self.path == "/slow":
            (FOLDER / "slow-begun").touch()
            while not (FOLDER / "slow-go").exists():
                time.sleep(0.01)
            self.answer(200, "done")
        elif self.path == "/noise":
            sys.stdout.write("noise\n" * 20_000)
            sys.stdout.flush()
            self.answer(200, "made")

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        return


class Server(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for running answers
    allow_reuse_address = True


server = Server((sys.argv[1], int(sys.argv[2])), Handler)


def end(*_: Any) -> None:
    (FOLDER / "term-seen").touch()
    threading.Thread(target=server.shutdown).start()


signal.signal(signal.SIGTERM, signal.SIG_IGN if "ignore-term" in sys.argv else end)
print("serving", flush=True)
server.serve_forever(poll_interval=0.01)
server.server_close()
print("ended", flush=True)
