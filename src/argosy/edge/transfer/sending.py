"""The sending end of transfers: a listener and a few threads.

Rules of this file:
- A state is taken out of the store by whoever asks for it with the right ticket, and can be asked for once.
- Whatever becomes of the connection, `Parcel.sent` is called exactly once; it says whether the other side has it all.
- A peer that says nothing, or takes nothing, is waited for `_PATIENCE_S`; one that is slow, for `within_s` in all.
"""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from argosy.base.errors import UserError
from argosy.edge.transfer.wire import ACKNOWLEDGED, REQUEST_BYTES, WANTED, TransferError, reply, ticket_of

_PATIENCE_S: Final = 5.0
_PEERS: Final = 64
"""Connections at a time; more are closed at once."""
_STRIDE_BYTES: Final = 4 * 1024 * 1024
_log = logging.getLogger(__name__)


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """One state that is to be sent."""

    header: bytes
    path: Path
    """The file that holds the state, whole."""
    sent: Callable[[bool], None]
    """Called at the end, from any thread; True when the other side has acknowledged."""


class Sender:
    """Listens on an address of its own, and sends what `take` gives for a ticket."""

    def __init__(self, where: tuple[str, int], take: Callable[[str], Parcel | None], *, within_s: float) -> None:
        self._take = take
        self._within_s = within_s
        self._peers = threading.BoundedSemaphore(_PEERS)
        family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        try:
            self._listener = socket.create_server(where, family=family, backlog=_PEERS)
        except OSError as error:
            raise UserError(
                f"cannot listen on {where[0]}:{where[1]} ({error.strerror}); choose another --host or --kv-port",
            ) from None
        threading.Thread(target=self._listen, name="kv-listener", daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                peer, address = self._listener.accept()
            except ConnectionAbortedError:
                continue
            except OSError:
                return
            if not self._peers.acquire(blocking=False):
                peer.close()
                continue
            threading.Thread(target=self._serve, args=(peer, address), name="kv-peer", daemon=True).start()

    def _serve(self, peer: socket.socket, address: object) -> None:
        try:
            with peer:
                peer.settimeout(_PATIENCE_S)
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._send(peer)
        except (OSError, TransferError) as error:
            _log.warning("a transfer to %s broke: %s", address, error)
        finally:
            self._peers.release()

    def _send(self, peer: socket.socket) -> None:
        parcel = self._take(ticket_of(_exactly(peer, REQUEST_BYTES, within_s=_PATIENCE_S)))
        if parcel is None:
            peer.sendall(reply(b""))
            return
        acknowledged = False
        try:
            peer.sendall(reply(parcel.header))
            said = peer.recv(1)
            if said == WANTED:
                with parcel.path.open("rb") as file:
                    self._send_file(peer, file)
                said = peer.recv(1)
            acknowledged = said == ACKNOWLEDGED
        finally:
            parcel.sent(acknowledged)
        if not acknowledged:
            raise TransferError("the other side did not want it")

    def _send_file(self, peer: socket.socket, file: BinaryIO) -> None:
        end_s = time.monotonic() + self._within_s
        while peer.sendfile(file, file.tell(), _STRIDE_BYTES):
            if time.monotonic() > end_s:
                raise TransferError("it takes too long")


def _exactly(peer: socket.socket, size_bytes: int, *, within_s: float) -> bytes:
    whole, end_s = b"", time.monotonic() + within_s
    while len(whole) < size_bytes:
        if time.monotonic() > end_s:
            raise TransferError("it takes too long to say what it wants")
        piece = peer.recv(size_bytes - len(whole))
        if not piece:
            raise TransferError("the other side left before it said what it wants")
        whole += piece
    return whole
