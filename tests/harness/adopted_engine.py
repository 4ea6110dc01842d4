"""Somebody's own model server, which knows nothing of Argosy: any path, any body, an answer in pieces.

    python adopted_engine.py PORT

On SIGTERM it takes nothing more, ends what it has begun, and goes.
"""

import http.server
import json
import os
import signal
import sys
import threading
import time

PIECES = 5
PIECE_S = 0.02


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say who answers."""
        self._answer(b"")

    def do_POST(self) -> None:
        """Say who answers and what came, in pieces."""
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        told = json.dumps({"served_by": os.uname().nodename, "bytes": len(body)})
        for piece in (told, *map(str, range(PIECES)), "[DONE]"):
            self._write(f"data: {piece}\n\n".encode())
            time.sleep(PIECE_S)
        self._write(b"")

    def _write(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def log_message(self, *_words: object) -> None:
        """Say nothing of each request."""


class Server(http.server.ThreadingHTTPServer):
    """Waits for its answers at its end."""

    daemon_threads = False
    request_queue_size = 512


def main() -> None:
    """Serve until SIGTERM."""
    server = Server(("", int(sys.argv[1])), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(0.1)
    server.server_close()


if __name__ == "__main__":
    main()
