"""The ADS server: snapshots by Gateway in, streams of Envoys served, their answers reported.

An Envoy says by its node's cluster which Gateway it serves (`namespace/name`). Any number of Envoys may serve one.
Other gateways are told of these reports too (peers.py).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import grpc
from envoy.service.discovery.v3 import discovery_pb2

from argosy.base.endpoint import Endpoint
from argosy.base.errors import UserError
from argosy.edge.rpc.peers import ProxyState, Shown, States
from argosy.edge.rpc.xds_encoding import Snapshot
from argosy.edge.rpc.xds_session import Request, Response, Session

OFFER_AGAIN_S: Final = 5.0
"""After how long a refused configuration is offered once more."""

_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a port in use is an error, not a second server
    # Envoy pings every 10 s; by default such a client would be sent away.
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class _Stream:
    """One Envoy's stream: its session, and what wakes its sender."""

    def __init__(self) -> None:
        self.session = Session()
        self.gateway = ""
        self.node = ""
        self.woken = asyncio.Event()

    @property
    def state(self) -> ProxyState:
        return ProxyState(self.gateway, self.node, self.session.accepted, self.session.refusal)


class XdsServer:
    """Serves ADS at an address.

    `on_states` is called, with the states of all connected Envoys, whenever one of them changes.
    """

    def __init__(self, address: Endpoint, on_states: Callable[[States], None]) -> None:
        self._address = address
        self._on_states = on_states
        self._snapshots: Mapping[str, Snapshot] = {}
        self._streams: set[_Stream] = set()
        self._shown = Shown()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> Endpoint:
        """Listen; gives the address with the port chosen when 0 was asked for. Raises `UserError`: port in use."""
        self._server = grpc.aio.server(options=_OPTIONS)
        handler = grpc.stream_stream_rpc_method_handler(
            self._serve,
            request_deserializer=discovery_pb2.DiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DiscoveryResponse.SerializeToString,
        )
        service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
        methods = {"StreamAggregatedResources": handler}
        ads = grpc.method_handlers_generic_handler(service, methods)
        self._server.add_generic_rpc_handlers((ads, self._shown.handler()))
        try:
            port = self._server.add_insecure_port(str(self._address))
        except RuntimeError as error:
            raise UserError(f"xDS: cannot listen at {self._address}: {error}; choose another --xds-address") from error
        await self._server.start()
        return Endpoint(self._address.address, port)

    async def stop(self) -> None:
        """End all streams. Envoys keep what they have and come back on their own."""
        if self._server is not None:
            await self._server.stop(grace=0)

    def publish(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Make these the snapshots, by Gateway. Envoys of a Gateway that is not among them keep what they have."""
        before, self._snapshots = self._snapshots, snapshots
        for stream in self._streams:
            snapshot = snapshots.get(stream.gateway)
            if snapshot is not None and snapshot != before.get(stream.gateway):
                stream.session.offer(snapshot)
                stream.woken.set()
        self._report()

    async def _serve(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        stream = _Stream()
        reader = asyncio.create_task(self._read(stream, requests))
        try:
            while not reader.done():
                stream.woken.clear()
                for response in tuple(stream.session.responses()):
                    yield _message(response)
                self._report()
                try:
                    async with asyncio.timeout(OFFER_AGAIN_S if stream.session.refusal else None):
                        await stream.woken.wait()
                except TimeoutError:
                    stream.session.offer_again()
            if not stream.node:
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, "the first request of a stream must name its node"
                )
        finally:
            reader.cancel()
            self._streams.discard(stream)
            self._report()

    async def _read(self, stream: _Stream, requests: AsyncIterator[Any]) -> None:
        try:
            async for message in requests:
                if not stream.node:
                    stream.gateway, stream.node = message.node.cluster, message.node.id
                    self._streams.add(stream)
                    if stream.gateway in self._snapshots:
                        stream.session.offer(self._snapshots[stream.gateway])
                if not stream.node:
                    return
                stream.session.receive(_request(message))
                stream.woken.set()
        finally:
            stream.woken.set()

    def _report(self) -> None:
        states = tuple(sorted(stream.state for stream in self._streams))
        if states != self._shown.states:
            self._shown.show(states)
            self._on_states(states)


def _request(message: Any) -> Request:
    refusal = message.error_detail.message if message.HasField("error_detail") else ""
    return Request(
        message.type_url,
        message.version_info,
        message.response_nonce,
        frozenset(message.resource_names),
        refusal,
    )


def _message(response: Response) -> Any:
    return discovery_pb2.DiscoveryResponse(
        type_url=response.type_url,
        version_info=response.version,
        nonce=response.nonce,
        resources=[resource.any for resource in response.resources],
    )
