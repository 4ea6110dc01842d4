"""A network namespace for each pod, tied to the cluster's by a pair of virtual interfaces.

Rules of this file:

- A pod has one address and one route, to the cluster's network, which routes to every other pod, to the API server and
  to Services. There is no bridge, so no two pods can mistake each other, and nothing leads out.
- The namespace has no name: it lives while this object holds it or a process runs in it; its interfaces go with it.
"""

import asyncio
import itertools
import os

from harness.network import API_ADDRESS, HERE, LIBC, NEWNET, back_home, checked, ip

GATEWAY = API_ADDRESS
"""An address of the cluster's network; that it is the API server's as well means nothing."""
MTU = 65535


class PodNetworks:
    """Makes the networks of one node's pods; `prefix` names its interfaces, and is no other node's."""

    def __init__(self, prefix: str) -> None:
        self._names = (f"{prefix}{number}" for number in itertools.count(1))

    async def make(self, address: str) -> "PodNetwork":
        """Make a network in which this is the address."""
        return PodNetwork(await asyncio.to_thread(_make, address, next(self._names)))


class PodNetwork:
    """One network, until `close`, or until its last process ends."""

    def __init__(self, namespace: int) -> None:
        self._namespace = namespace
        self.path = f"/proc/{os.getpid()}/fd/{namespace}"
        """By which a process of this node enters it."""

    def close(self) -> None:
        """Hold it no longer."""
        os.close(self._namespace)


def _make(address: str, name: str) -> int:
    with back_home():
        checked(LIBC.unshare(NEWNET))
        namespace = os.open(HERE, os.O_RDONLY | os.O_CLOEXEC)
        ip(
            "link set lo up",
            f"link add eth0 mtu {MTU} type veth peer name {name} mtu {MTU} netns {os.getpid()}",
            f"addr add {address}/32 dev eth0",
            "link set eth0 up",
            f"route add {GATEWAY} dev eth0 scope link src {address}",
            f"route add default via {GATEWAY} dev eth0 src {address}",
        )
    ip(f"link set {name} up", f"route replace {address}/32 dev {name} src {GATEWAY}")
    return namespace
