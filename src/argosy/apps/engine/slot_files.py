"""States of slots as files: llama.cpp's own HTTP server behind a unix socket in a private folder, asked with a key.

A call blocks until llama.cpp has come between two batches; it belongs to the thread that has the slot.
"""

import http.client
import secrets
import socket
from pathlib import Path
from typing import Final, Literal

import msgspec

from argosy.base.errors import PeerError

_TIMEOUT_S: Final = 30
"""Longer than a batch takes on the slowest core."""


class SlotError(PeerError):
    """llama.cpp could not save or restore a slot; the text says why."""


class _Done(msgspec.Struct):
    """What is read of an answer."""

    n_written: int = 0


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(str(self._path))


class SlotFiles:
    """Saves slots into files of `folder` and restores them from there; names are plain file names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = secrets.token_hex(16)
        self.socket_path = folder / "llama.sock"

    def save(self, slot: int, name: str) -> int:
        """Write what a slot holds into a file and give its size in bytes. Raises SlotError."""
        written = self._ask(slot, "save", name).n_written
        size_bytes = (self.folder / name).stat().st_size
        if written != size_bytes:  # a full disk shows here only: llama.cpp does not look at what closing a file says
            raise SlotError(f"{written} bytes were written, {size_bytes} are there")
        return size_bytes

    def restore(self, slot: int, name: str) -> None:
        """Have a slot hold what the file says; after an error it holds nothing. Raises SlotError."""
        self._ask(slot, "restore", name)

    def _ask(self, slot: int, action: Literal["save", "restore"], name: str) -> _Done:
        connection = _Connection(self.socket_path)
        try:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            body = msgspec.json.encode({"filename": name})
            connection.request("POST", f"/slots/{slot}?action={action}", body, headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise SlotError(f"llama.cpp does not {action} slot {slot}: {error}") from None
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise SlotError(f"llama.cpp does not {action} slot {slot}: {said[:200]!r}")
        try:
            return msgspec.json.decode(said, type=_Done)
        except msgspec.DecodeError as error:
            raise SlotError(f"llama.cpp says what is not understood: {error}") from None
