"""What several gateways tell each other: which Envoys each of them serves, and what those made of it.

An Envoy is connected to one gateway, and one gateway writes statuses. So each serves its states beside ADS, as a
stream of JSON, and the one that writes follows the others.

Rules of this file:

- A peer that cannot be reached says nothing: its Envoys look for another gateway by themselves.
- Nothing is remembered of a stream that has ended.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any, Final, NamedTuple

import grpc
import grpc.aio
import msgspec

from argosy.base.endpoint import Endpoint

SERVICE: Final = "argosy.gateway.v1.Proxies"
RETRY_S: Final = 1.0
_KEEPALIVE: Final = (("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 5_000))


class ProxyState(NamedTuple):
    """What one connected Envoy made of its configuration."""

    gateway: str
    node: str
    accepted: bool
    refusal: str


States = tuple[ProxyState, ...]
_DECODER: Final = msgspec.json.Decoder(States)


class Shown:
    """The states of a gateway's own Envoys, shown to whoever watches."""

    def __init__(self) -> None:
        self.states: States = ()
        self._changed = asyncio.Event()

    def show(self, states: States) -> None:
        """Make these the states."""
        self.states = states
        self._changed.set()
        self._changed = asyncio.Event()

    def handler(self) -> Any:
        """Give the handler for `add_generic_rpc_handlers`."""
        watch = grpc.unary_stream_rpc_method_handler(self._watch)
        return grpc.method_handlers_generic_handler(SERVICE, {"Watch": watch})

    async def _watch(self, _request: bytes, _context: Any) -> AsyncIterator[bytes]:
        while True:
            changed = self._changed
            yield msgspec.json.encode(self.states)
            await changed.wait()


class Peers:
    """Follows other gateways. `on_states` is called whenever what they say has changed."""

    def __init__(self, on_states: Callable[[], None]) -> None:
        self._on_states = on_states
        self._following: dict[Endpoint, asyncio.Task[None]] = {}
        self._states: dict[Endpoint, States] = {}

    @property
    def states(self) -> States:
        """What they say of their Envoys."""
        return tuple(sorted({state for states in self._states.values() for state in states}))

    def follow(self, peers: Collection[Endpoint]) -> None:
        """Follow these, and no others."""
        for gone in self._following.keys() - set(peers):
            self._following.pop(gone).cancel()
            self._states.pop(gone, None)
        for new in sorted(set(peers) - self._following.keys()):
            self._following[new] = asyncio.create_task(self._follow(new), name=f"follow gateway {new}")

    async def stop(self) -> None:
        """Follow nobody; raises what a bug raised."""
        tasks = list(self._following.values())
        self.follow(())
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _follow(self, peer: Endpoint) -> None:
        async with grpc.aio.insecure_channel(str(peer), options=_KEEPALIVE) as channel:
            watch = channel.unary_stream(f"/{SERVICE}/Watch")
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError, msgspec.DecodeError):
                    async for message in watch(b""):
                        self._note(peer, _DECODER.decode(message))
                self._note(peer, ())
                await asyncio.sleep(RETRY_S)

    def _note(self, peer: Endpoint, states: States) -> None:
        if self._states.get(peer, ()) != states:
            self._states[peer] = states
            self._on_states()
