"""ext_proc's messages between protobuf and values.

Rules of this file:

- Decoding copies what a session looks at and nothing else.
- An answer that never varies is encoded once; of those that vary, the last few thousand are kept: a small pool has
  few orders of its endpoints.
"""

import functools
from typing import Any, Final

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from envoy.type.v3.http_status_pb2 import HttpStatus
from google.protobuf.message import DecodeError

from argosy.api.names import (
    DESTINATION,
    DESTINATION_NAMESPACE,
    LISTENER_ATTRIBUTE,
    MOVED_HEADER,
    SERVED,
    SUBSET,
    SUBSET_NAMESPACE,
    UPSTREAM_ATTRIBUTE,
)
from argosy.base.errors import PeerError
from argosy.edge.rpc.ext_proc import (
    Answer,
    AnswerBody,
    BodyChunk,
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
    Tell,
    Wait,
)
from argosy.edge.rpc.wire import LARGE_BYTES, REQUEST_BODY, body_of, field, varint

ATTRIBUTES_NAMESPACE: Final = "envoy.filters.http.ext_proc"
_REPLY_FIELDS: Final = {Phase.REQUEST_HEADERS: 1, Phase.REQUEST_BODY: 3, Phase.RESPONSE_BODY: 4}
_DESTINATION: Final = field(1, DESTINATION.encode())
_DESTINATION_NAMESPACE: Final = field(1, DESTINATION_NAMESPACE.encode())
_STATUS_DIGITS: Final = 3
_CLEAR_ROUTE_CACHE: Final = b"\x28\x01"
_OVERWRITE: Final = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


def decode(data: bytes | memoryview) -> Message:
    """Read a ProcessingRequest. Raises `PeerError` for bytes that are none, and for one that is about nothing."""
    if len(data) > LARGE_BYTES and (found := body_of(memoryview(data))) is not None:
        number, body, is_last = found
        kind = RequestBody if number == REQUEST_BODY else ResponseBody
        return kind(body=body, end_of_stream=is_last)
    return decode_generated(data)


def decode_generated(data: bytes | memoryview) -> Message:
    """Read a ProcessingRequest of any form."""
    try:
        message = pb.ProcessingRequest.FromString(data)
    except DecodeError as error:
        raise PeerError(f"not a ProcessingRequest: {error}") from error
    match message.WhichOneof("request"):
        case "request_headers":
            return RequestHeaders(
                headers=_headers(message.request_headers.headers),
                end_of_stream=message.request_headers.end_of_stream,
                body_mode=_request_body_mode(message),
                response_body_mode=_response_body_mode(message) or BodyMode.NONE,
                listener=_attribute(message, LISTENER_ATTRIBUTE),
                subset=_subset(message),
            )
        case "request_body":
            return RequestBody(body=message.request_body.body, end_of_stream=message.request_body.end_of_stream)
        case "response_headers":
            headers = _headers(message.response_headers.headers)
            status = headers.get(":status", "")
            return ResponseHeaders(
                status=int(status) if len(status) == _STATUS_DIGITS and status.isdecimal() else 0,
                served=_served(message),
                content_type=headers.get("content-type", ""),
                content_encoding=headers.get("content-encoding", ""),
                end_of_stream=message.response_headers.end_of_stream,
                response_body_mode=_response_body_mode(message),
                moved=headers.get(MOVED_HEADER),
            )
        case "response_trailers":
            return ResponseTrailers()
        case "request_trailers":
            return RequestTrailers()
        case "response_body":
            return ResponseBody(body=message.response_body.body, end_of_stream=message.response_body.end_of_stream)
        case _:
            raise PeerError("a ProcessingRequest that is about nothing")


def encode(reply: Reply) -> bytes:
    """Give the ProcessingResponse of a reply."""
    match reply:
        case Proceed():
            return _PROCEED[reply.phase]
        case BodyChunk():
            before, behind = _around(_REPLY_FIELDS[reply.phase], len(reply.body), end_of_stream=reply.end_of_stream)
            return b"".join((before, reply.body, behind))
        case AnswerBody():
            return b"".join((_before(reply.body, b"", b"", Phase.RESPONSE_BODY), reply.body))
        case Steer():
            return _steer(reply) if reply.body is None else _steer_with(reply, reply.body)
        case Tell() | Answer() | Wait():
            return bytes(_generated(reply).SerializeToString())


def _headers(header_map: Any) -> dict[str, str]:
    headers: dict[str, str] = {}
    for header in header_map.headers:
        value = header.raw_value.decode("utf-8", "replace") if header.raw_value else header.value
        name = header.key
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _request_body_mode(message: Any) -> BodyMode:
    # Envoy before 1.34 says nothing of its modes; BUFFERED is what our own configuration asks for.
    if not message.HasField("protocol_config"):
        return BodyMode.BUFFERED
    return _body_mode("request_body_mode", message.protocol_config.request_body_mode)


def _response_body_mode(message: Any) -> BodyMode | None:
    if not message.HasField("protocol_config"):
        return None
    return _body_mode("response_body_mode", message.protocol_config.response_body_mode)


def _body_mode(name: str, number: int) -> BodyMode:
    try:
        return BodyMode(number)
    except ValueError as error:
        raise PeerError(f"{name} {number} is unknown") from error


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
    # HeaderMutation in CommonResponse, beside clear_route_cache, in HeadersResponse or BodyResponse.
    changed = field(1, _mutation(reply), _CLEAR_ROUTE_CACHE)
    return field(_REPLY_FIELDS[reply.phase], changed) + _pick(reply.destination)


def _steer_with(reply: Steer, body: bytes) -> bytes:
    before = _before(body, _mutation(reply), _CLEAR_ROUTE_CACHE, reply.phase)
    return b"".join((before, body, _CLEAR_ROUTE_CACHE, _pick(reply.destination)))


def _before(body: bytes, mutation: bytes, behind: bytes, phase: Phase) -> bytes:
    """Give what stands before a body that takes another's place, so that its bytes are copied once."""
    before = b""
    # BodyMutation and CommonResponse, which has a header mutation before it; BodyResponse, ProcessingResponse.
    for tag in (0x0A, 0x1A):
        before = bytes((tag,)) + varint(len(before) + len(body)) + before
    before = mutation + before
    for tag in (0x0A, _REPLY_FIELDS[phase] << 3 | 2):
        before = bytes((tag,)) + varint(len(before) + len(body) + len(behind)) + before
    return before


def _mutation(reply: Steer) -> bytes:
    options = [_overwriting(name, value) for name, value in reply.set_headers]
    removals = [field(2, name.encode()) for name in reply.remove_headers]
    return field(2, *options, *removals)


@functools.lru_cache(maxsize=4096)
def _overwriting(name: str, value: str) -> bytes:
    """Give a HeaderMutation's HeaderValueOption: a HeaderValue, and OVERWRITE_IF_EXISTS_OR_ADD."""
    return field(1, field(1, field(1, name.encode()), field(3, value.encode())), b"\x18\x02")


@functools.lru_cache(maxsize=4096)
def _pick(destination: str) -> bytes:
    """Give the ProcessingResponse's dynamic metadata."""
    # A map's entry in Struct: its key, and a Value, of a string within, of a Struct without.
    entry = field(1, _DESTINATION, field(2, field(3, destination.encode())))
    return field(8, field(1, _DESTINATION_NAMESPACE, field(2, field(5, entry))))


@functools.lru_cache(maxsize=4096)
def _around(number: int, body_bytes: int, *, end_of_stream: bool) -> tuple[bytes, bytes]:
    """Give what stands before and behind a chunk's bytes, so that these are copied once."""
    before = b"\x0a" + varint(body_bytes) if body_bytes else b""
    behind = b"\x10\x01" if end_of_stream else b""
    # StreamedBodyResponse in BodyMutation, CommonResponse, BodyResponse, ProcessingResponse.
    for tag in (0x1A, 0x1A, 0x0A, number << 3 | 2):
        before = bytes((tag,)) + varint(len(before) + body_bytes + len(behind)) + before
    return before, behind


def _generated(reply: Tell | Answer | Wait) -> Any:
    match reply:
        case Tell():
            return _tell(reply)
        case Answer():
            return _answer(reply)
        case Wait():
            response = pb.ProcessingResponse()
            response.override_message_timeout.FromNanoseconds(round(reply.timeout_s * 1e9))
            return response


def _tell(reply: Tell) -> Any:
    mutation = pb.HeaderMutation(set_headers=_set(reply.set_headers), remove_headers=reply.remove_headers)
    headers = pb.HeadersResponse(response=pb.CommonResponse(header_mutation=mutation))
    response = pb.ProcessingResponse(response_headers=headers)
    if reply.body_mode is not None:
        # An override stands for the whole mode: the answer's end is wanted as before.
        response.mode_override.response_body_mode = reply.body_mode.value
        response.mode_override.response_trailer_mode = ProcessingMode.SEND
    return response


def _answer(reply: Answer) -> Any:
    immediate = pb.ImmediateResponse(
        status=HttpStatus(code=reply.status),
        headers=pb.HeaderMutation(set_headers=_set(reply.headers)),
        body=reply.body,
        details=reply.details,
    )
    return pb.ProcessingResponse(immediate_response=immediate)


def _proceed(phase: Phase) -> bytes:
    response = pb.ProcessingResponse()
    getattr(response, phase.value).SetInParent()
    return bytes(response.SerializeToString())


_PROCEED: Final = {phase: _proceed(phase) for phase in Phase}
