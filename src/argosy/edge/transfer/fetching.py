"""The fetching end of a transfer; blocks its thread.

Rules of this file:
- Whoever waits asks every `_PATIENCE_S` whether the transfer is still wanted. A peer that says nothing for
  `_SILENCE_S` is given up, and any at the deadline.
- Nothing is held but one piece at a time, whatever the other side sends.
"""

import socket
import time
from collections.abc import Callable, Iterator
from typing import Final, Self

from argosy.edge.transfer.wire import ACKNOWLEDGED, REPLY_BYTES, WANTED, TransferError, header_bytes, request

_PATIENCE_S: Final = 0.1
_SILENCE_S: Final = 3.0
_PIECE_BYTES: Final = 128 * 1024


class Fetching:
    """One transfer: its header, the pieces of its state, the acknowledgement. Every step raises TransferError."""

    def __init__(self, where: tuple[str, int], *, within_s: float, unwanted: Callable[[], bool]) -> None:
        self._where = where
        self._end_s = time.monotonic() + within_s
        self._unwanted = unwanted
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        try:
            self._socket = socket.create_connection(self._where, timeout=min(_SILENCE_S, self._left_s()))
        except OSError as error:
            raise TransferError(f"no connection to {self._where[0]}:{self._where[1]}: {error}", "unreachable") from None
        self._socket.settimeout(_PATIENCE_S)
        return self

    def __exit__(self, *_error: object) -> None:
        self._connected.close()

    def header(self, ticket: str, *, limit_bytes: int) -> bytes:
        """Ask for a ticket and give the header of its state."""
        self._send(request(ticket))
        size = header_bytes(self._exactly(REPLY_BYTES))
        if not size:
            raise TransferError("the other side does not have this state, or no longer", "gone")
        if size > limit_bytes:
            raise TransferError(f"the header has {size} bytes, above {limit_bytes}", "differs")
        return self._exactly(size)

    def pieces(self, size_bytes: int) -> Iterator[memoryview]:
        """Have the state sent and give it, each piece until the next one is asked for."""
        self._send(WANTED)
        piece = memoryview(bytearray(min(_PIECE_BYTES, size_bytes)))
        while size_bytes:
            count = self._receive(piece[:size_bytes])
            size_bytes -= count
            yield piece[:count]

    def acknowledge(self) -> None:
        """Tell the other side that it may forget the state."""
        self._send(ACKNOWLEDGED)

    @property
    def _connected(self) -> socket.socket:
        assert self._socket is not None, "used outside its `with`"  # noqa: S101 - a mistake of ours
        return self._socket

    def _left_s(self) -> float:
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise TransferError("it takes too long", "late")
        return left_s

    def _send(self, data: bytes) -> None:
        try:
            self._connected.sendall(data)
        except OSError as error:
            raise TransferError(f"the connection broke: {error}") from None

    def _exactly(self, size_bytes: int) -> bytes:
        whole = bytearray(size_bytes)
        view = memoryview(whole)
        while view:
            view = view[self._receive(view) :]
        return bytes(whole)

    def _receive(self, into: memoryview) -> int:
        """Wait for what comes next and give how many bytes it is."""
        silent_since_s = time.monotonic()
        while True:
            if self._left_s() and time.monotonic() - silent_since_s > _SILENCE_S:
                raise TransferError(f"the other side says nothing for {_SILENCE_S:g} s", "late")
            try:
                count = self._connected.recv_into(into)
            except TimeoutError:
                if self._unwanted():
                    raise TransferError("it is no longer wanted") from None
                continue
            except OSError as error:
                raise TransferError(f"the connection broke: {error}") from None
            if not count:
                raise TransferError("the other side ended the connection in the middle")
            return count
