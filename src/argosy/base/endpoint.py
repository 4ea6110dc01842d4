"""An endpoint is an address and a port, everywhere."""

from typing import Self

import msgspec


class Endpoint(msgspec.Struct, frozen=True, order=True, gc=False, cache_hash=True):
    """One port of one pod: what a request is sent to."""

    address: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `ip:port` or `[ip6]:port`; raises ValueError for anything else."""
        address, colon, port = text.rpartition(":")
        if not colon or not address or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r} is not ADDRESS:PORT")
        if address.startswith("[") != address.endswith("]") or (":" in address and not address.startswith("[")):
            raise ValueError(f"{text!r}: an IPv6 address needs brackets")
        return cls(address.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"
