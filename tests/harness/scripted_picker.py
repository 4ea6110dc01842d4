"""A picker that answers what a test tells it, over ext_proc with grpcio: for tests of the data plane alone.

    async with scripted_picker(Endpoint(plane.address(), 9002)) as picker:
        await plane.add_picker(picker.endpoint)
        picker.pool, picker.picks = Key("default", "alpha"), [first.endpoint, second.endpoint]
        ...
        assert picker.served == [str(second.endpoint)]

`picks` is the ordered list of every answer from then on; None answers without a pick. `refusal`, a status and a body,
is answered instead of a pick. `served` collects Envoy's
`upstream.address` of each response, `streams` how many requests it saw.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from google.protobuf import struct_pb2

from argosy.api.names import DESTINATION, DESTINATION_NAMESPACE, MAX_BODY_BYTES, POOL_HEADER
from argosy.api.objects import Key
from argosy.base.endpoint import Endpoint


class ScriptedPicker:
    """What a test sees of its picker."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.pool: Key | None = None
        self.picks: Sequence[Endpoint] | None = None
        self.refusal: tuple[int, bytes] | None = None
        self.streams = 0
        self.open = 0
        self.served: list[str] = []
        self.headers: list[dict[str, str]] = []

    async def process(self, requests: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
        self.streams += 1
        self.open += 1
        try:
            async for message in requests:
                yield self._answer(message)
        finally:
            self.open -= 1

    def _answer(self, message: Any) -> Any:
        match message.WhichOneof("request"):
            case "request_headers":
                headers = message.request_headers.headers.headers
                self.headers.append({h.key: (h.raw_value or h.value.encode()).decode() for h in headers})
                if message.request_headers.end_of_stream:
                    return self._pick("request_headers")
                return ext_proc.ProcessingResponse(request_headers=ext_proc.HeadersResponse())
            case "request_body":
                return self._pick("request_body")
            case "response_headers":
                fields = message.attributes["envoy.filters.http.ext_proc"].fields
                self.served.append(fields["upstream.address"].string_value)
                return ext_proc.ProcessingResponse(response_headers=ext_proc.HeadersResponse())
            case "response_trailers":
                return ext_proc.ProcessingResponse(response_trailers=ext_proc.TrailersResponse())
            case other:
                raise AssertionError(f"Envoy sent {other}")

    def _pick(self, phase: str) -> Any:
        common = ext_proc.CommonResponse()
        response = ext_proc.ProcessingResponse()
        if self.refusal is not None:
            response.immediate_response.status.code, response.immediate_response.body = self.refusal
            return response
        if self.pool is not None and self.picks is not None:
            destination = ",".join(map(str, self.picks))
            for name, value in ((POOL_HEADER, str(self.pool)), (DESTINATION, destination)):
                option = common.header_mutation.set_headers.add(
                    append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
                )
                option.header.key = name
                option.header.raw_value = value.encode()
            common.clear_route_cache = True
            fields = struct_pb2.Struct()
            fields[DESTINATION] = destination
            response.dynamic_metadata[DESTINATION_NAMESPACE] = fields
        getattr(response, phase).response.CopyFrom(common)
        return response


@contextlib.asynccontextmanager
async def scripted_picker(endpoint: Endpoint) -> AsyncIterator[ScriptedPicker]:
    """Serve a scripted picker until the block ends; it leaves at once, as if killed."""
    picker = ScriptedPicker(endpoint)
    options = (
        ("grpc.max_receive_message_length", 2 * MAX_BODY_BYTES),
        ("grpc.so_reuseport", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
        ("grpc.keepalive_permit_without_calls", 1),
    )
    server = grpc.aio.server(options=options)
    handler = grpc.stream_stream_rpc_method_handler(
        picker.process,
        request_deserializer=ext_proc.ProcessingRequest.FromString,
        response_serializer=ext_proc.ProcessingResponse.SerializeToString,
    )
    service = "envoy.service.ext_proc.v3.ExternalProcessor"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Process": handler}),))
    server.add_insecure_port(str(endpoint))
    await server.start()
    try:
        yield picker
    finally:
        await server.stop(grace=None)
