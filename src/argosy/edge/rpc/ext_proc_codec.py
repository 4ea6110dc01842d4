"""ext_proc's messages between protobuf and values.

Rules of this file:

- Decoding copies what a session looks at and nothing else.
- An answer that never varies is encoded once; of those that vary, the last few thousand are kept: a small pool has
  few orders of its endpoints.
"""

import functools
from typing import Any, Final

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from envoy.type.v3.http_status_pb2 import HttpStatus
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct, Value

from argosy.api.names import (
    DESTINATION,
    DESTINATION_NAMESPACE,
    LISTENER_ATTRIBUTE,
    SERVED,
    SUBSET,
    SUBSET_NAMESPACE,
    UPSTREAM_ATTRIBUTE,
)
from argosy.base.errors import PeerError
from argosy.edge.rpc.ext_proc import (
    Answer,
    BodyMode,
    Message,
    Phase,
    Proceed,
    Reply,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Steer,
)

ATTRIBUTES_NAMESPACE: Final = "envoy.filters.http.ext_proc"
_OVERWRITE: Final = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


def decode(data: bytes) -> Message:
    """Read a ProcessingRequest. Raises `PeerError` for bytes that are none, and for one that is about nothing."""
    try:
        message = pb.ProcessingRequest.FromString(data)
    except DecodeError as error:
        raise PeerError(f"not a ProcessingRequest: {error}") from error
    match message.WhichOneof("request"):
        case "request_headers":
            return RequestHeaders(
                headers=_headers(message.request_headers.headers),
                end_of_stream=message.request_headers.end_of_stream,
                body_mode=_body_mode(message),
                listener=_attribute(message, LISTENER_ATTRIBUTE),
                subset=_subset(message),
            )
        case "request_body":
            return RequestBody(body=message.request_body.body, end_of_stream=message.request_body.end_of_stream)
        case "response_headers":
            status = _headers(message.response_headers.headers).get(":status", "")
            return ResponseHeaders(status=int(status) if status.isdecimal() else 0, served=_served(message))
        case "response_trailers":
            return ResponseTrailers()
        case "request_trailers":
            return RequestTrailers()
        case "response_body":
            return ResponseBody()
        case _:
            raise PeerError("a ProcessingRequest that is about nothing")


def encode(reply: Reply) -> bytes:
    """Give the ProcessingResponse of a reply."""
    match reply:
        case Proceed():
            return _PROCEED[reply.phase]
        case Steer():
            return _steer(reply)
        case Answer():
            return _answer(reply)


def _headers(header_map: Any) -> dict[str, str]:
    headers: dict[str, str] = {}
    for header in header_map.headers:
        value = header.raw_value.decode("utf-8", "replace") if header.raw_value else header.value
        name = header.key
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _body_mode(message: Any) -> BodyMode:
    # Envoy before 1.34 says nothing of its modes; BUFFERED is what our own configuration asks for.
    if not message.HasField("protocol_config"):
        return BodyMode.BUFFERED
    number = message.protocol_config.request_body_mode
    try:
        return BodyMode(number)
    except ValueError as error:
        raise PeerError(f"request_body_mode {number} is unknown") from error


def _subset(message: Any) -> str | tuple[str, ...] | None:
    filters = message.metadata_context.filter_metadata
    if SUBSET_NAMESPACE not in filters or SUBSET not in filters[SUBSET_NAMESPACE].fields:
        return None
    hint = filters[SUBSET_NAMESPACE].fields[SUBSET]
    if hint.WhichOneof("kind") == "string_value":
        return str(hint.string_value)
    return tuple(word.string_value for word in hint.list_value.values)


def _served(message: Any) -> str:
    filters = message.metadata_context.filter_metadata
    if DESTINATION_NAMESPACE in filters and SERVED in filters[DESTINATION_NAMESPACE].fields:
        return str(filters[DESTINATION_NAMESPACE].fields[SERVED].string_value)
    return _attribute(message, UPSTREAM_ATTRIBUTE)


def _attribute(message: Any, name: str) -> str:
    if ATTRIBUTES_NAMESPACE not in message.attributes:
        return ""
    return str(message.attributes[ATTRIBUTES_NAMESPACE].fields[name].string_value)


def _set(headers: tuple[tuple[str, str], ...]) -> list[HeaderValueOption]:
    return [
        HeaderValueOption(header=HeaderValue(key=name, raw_value=value.encode()), append_action=_OVERWRITE)
        for name, value in headers
    ]


@functools.lru_cache(maxsize=4096)
def _steer(reply: Steer) -> bytes:
    common = pb.CommonResponse(
        header_mutation=pb.HeaderMutation(set_headers=_set(reply.set_headers), remove_headers=reply.remove_headers),
        clear_route_cache=True,
    )
    pick = Struct(fields={DESTINATION: Value(string_value=reply.destination)})
    metadata = Struct(fields={DESTINATION_NAMESPACE: Value(struct_value=pick)})
    if reply.phase is Phase.REQUEST_BODY:
        body = pb.BodyResponse(response=common)
        return bytes(pb.ProcessingResponse(request_body=body, dynamic_metadata=metadata).SerializeToString())
    headers = pb.HeadersResponse(response=common)
    return bytes(pb.ProcessingResponse(request_headers=headers, dynamic_metadata=metadata).SerializeToString())


def _answer(reply: Answer) -> bytes:
    immediate = pb.ImmediateResponse(
        status=HttpStatus(code=reply.status),
        headers=pb.HeaderMutation(set_headers=_set(reply.headers)),
        body=reply.body,
        details=reply.details,
    )
    return bytes(pb.ProcessingResponse(immediate_response=immediate).SerializeToString())


def _proceed(phase: Phase) -> bytes:
    response = pb.ProcessingResponse()
    getattr(response, phase.value).SetInParent()
    return bytes(response.SerializeToString())


_PROCEED: Final = {phase: _proceed(phase) for phase in Phase}
