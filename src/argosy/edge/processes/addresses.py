"""A loopback address of its own for every pod.

Rules of this file:

- An address is `127.A.B.C`, each of 1 to 254, made from the instance's seed and the slot's name: two instances on one
  machine differ, and a slot has the same address after a restart. 127.0.0.x is the user's and never given.
- An address that is in use is passed over for the next one of the row; after `ATTEMPTS` it is an error.

    PeerError
    └── NoAddress   none of the tried addresses is free
"""

import hashlib
import socket
from collections.abc import Callable, Iterator, Sequence

from argosy.base.errors import PeerError

ATTEMPTS = 64


class NoAddress(PeerError):  # noqa: N818 (named for the state)
    """No loopback address is free for a slot."""


class LoopbackAddresses:
    """Addresses by slot name; a slot keeps its address as long as this lives.

    `seed` names the instance; `is_free` says whether an address can be used (see `bindable`).
    """

    def __init__(self, seed: str, is_free: Callable[[str], bool]) -> None:
        self._seed = seed
        self._is_free = is_free
        self._by_slot: dict[str, str] = {}

    def of(self, slot: str) -> str:
        """Give the address of a slot. Raises `NoAddress`."""
        if slot not in self._by_slot:
            taken = set(self._by_slot.values())
            for address in candidates(self._seed, slot):
                if address not in taken and self._is_free(address):
                    self._by_slot[slot] = address
                    break
            else:
                raise NoAddress(
                    f"no loopback address is free for {slot}: {ATTEMPTS} were tried; "
                    "a program that listens on 0.0.0.0 may hold one of its ports"
                )
        return self._by_slot[slot]


def candidates(seed: str, slot: str) -> Iterator[str]:
    """Give the addresses to try for a slot, in order."""
    for attempt in range(ATTEMPTS):
        digest = hashlib.sha256(f"{seed}\0{slot}\0{attempt}".encode()).digest()
        yield ".".join(["127", *(str(1 + int.from_bytes(digest[i : i + 4]) % 254) for i in (0, 4, 8))])


def bindable(address: str, ports: Sequence[int]) -> bool:
    """Say whether nobody listens on these TCP ports of an address."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
