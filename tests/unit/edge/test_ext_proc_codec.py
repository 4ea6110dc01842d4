from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import HeaderValueOption, Metadata
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

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
)
from argosy.edge.rpc.ext_proc_codec import decode, decode_generated, encode
from argosy.edge.rpc.wire import body_of

BASE64_POST, BASE64_200 = "UE9TVA==", "MjAw"
NO_STATUS = {"key": ":status", "value": "9" * 5000}


def message(**fields: Any) -> bytes:
    return bytes(ParseDict(fields, pb.ProcessingRequest()).SerializeToString())


def reply(value: Reply) -> dict[str, Any]:
    return dict(MessageToDict(pb.ProcessingResponse.FromString(encode(value)), preserving_proto_field_name=True))


def hinted(namespace: str, key: str, value: Any) -> dict[str, Any]:
    return {"metadata_context": {"filter_metadata": {namespace: {key: value}}}}


HEADERS = {"request_headers": {"headers": {"headers": []}}}
SUBSET = ("envoy.lb.subset_hint", "x-gateway-destination-endpoint-subset")
SERVED = ("envoy.lb", "x-gateway-destination-endpoint-served")


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        (
            {
                "request_headers": {
                    "headers": {
                        "headers": [
                            {"key": ":method", "raw_value": BASE64_POST},
                            {"key": "x-a", "value": "1"},
                            {"key": "x-a", "value": "2"},
                            {"key": "x-binary", "raw_value": "/w=="},
                        ]
                    },
                    "end_of_stream": True,
                }
            },
            RequestHeaders(headers={":method": "POST", "x-a": "1,2", "x-binary": "\ufffd"}, end_of_stream=True),
        ),
        (
            {**HEADERS, "protocol_config": {"request_body_mode": "FULL_DUPLEX_STREAMED"}},
            RequestHeaders(headers={}, body_mode=BodyMode.FULL_DUPLEX_STREAMED),
        ),
        (
            {
                **HEADERS,
                "protocol_config": {"request_body_mode": "BUFFERED", "response_body_mode": "FULL_DUPLEX_STREAMED"},
            },
            RequestHeaders(headers={}, response_body_mode=BodyMode.FULL_DUPLEX_STREAMED),
        ),
        (
            {"response_headers": {}, "protocol_config": {"response_body_mode": "STREAMED"}},
            ResponseHeaders(status=0, response_body_mode=BodyMode.STREAMED),
        ),
        (
            {**HEADERS, "attributes": {"envoy.filters.http.ext_proc": {"xds.filter_chain_name": "ns/name/80"}}},
            RequestHeaders(headers={}, listener="ns/name/80"),
        ),
        ({**HEADERS, **hinted(*SUBSET, "a:1,b:2")}, RequestHeaders(headers={}, subset="a:1,b:2")),
        ({**HEADERS, **hinted(*SUBSET, ["a:1", "b:2"])}, RequestHeaders(headers={}, subset=("a:1", "b:2"))),
        ({**HEADERS, **hinted(*SUBSET, [])}, RequestHeaders(headers={}, subset=())),
        ({**HEADERS, **hinted(SUBSET[0], "other", "a:1")}, RequestHeaders(headers={})),
        ({"request_body": {"body": "e30=", "end_of_stream": True}}, RequestBody(body=b"{}")),
        ({"request_body": {"body": "e30="}}, RequestBody(body=b"{}", end_of_stream=False)),
        ({"request_trailers": {}}, RequestTrailers()),
        (
            {
                "response_headers": {"headers": {"headers": [{"key": ":status", "raw_value": BASE64_200}]}},
                "attributes": {"envoy.filters.http.ext_proc": {"upstream.address": "127.0.0.1:8000"}},
            },
            ResponseHeaders(status=200, served="127.0.0.1:8000"),
        ),
        (
            {"response_headers": {}, **hinted(*SERVED, "127.0.0.1:8001")},
            ResponseHeaders(status=0, served="127.0.0.1:8001"),
        ),
        ({"response_headers": {}, "attributes": {"other": {}}}, ResponseHeaders(status=0)),
        ({"response_headers": {"headers": {"headers": [NO_STATUS]}}}, ResponseHeaders(status=0)),
        (
            {
                "response_headers": {
                    "headers": {
                        "headers": [
                            {"key": "content-type", "value": "application/json"},
                            {"key": "content-encoding", "value": "gzip"},
                        ]
                    },
                    "end_of_stream": True,
                }
            },
            ResponseHeaders(status=0, content_type="application/json", content_encoding="gzip", end_of_stream=True),
        ),
        ({"response_body": {"body": "e30="}}, ResponseBody(body=b"{}")),
        ({"response_body": {"body": "e30=", "end_of_stream": True}}, ResponseBody(body=b"{}", end_of_stream=True)),
        ({"response_trailers": {}}, ResponseTrailers()),
    ],
)
def test_a_message_of_envoy_is_read(fields: dict[str, Any], value: Message) -> None:
    assert decode(message(**fields)) == value


BODIES = st.binary(max_size=40) | st.sampled_from([126, 127, 128, 16_370, 16_384, 62_000, 2_097_152]).map(bytes)
HTTP_BODIES = st.builds(pb.HttpBody, body=BODIES, end_of_stream=st.booleans(), grpc_message_compressed=st.booleans())
OTHERS = st.fixed_dictionaries(
    {},
    optional={
        "observability_mode": st.booleans(),
        "protocol_config": st.builds(pb.ProtocolConfiguration, request_body_mode=st.integers(0, 5)),
        "metadata_context": st.builds(
            Metadata, filter_metadata=st.dictionaries(st.text(), st.builds(Struct), max_size=2)
        ),
    },
)
BODY_MESSAGES = st.builds(
    lambda name, body, others: pb.ProcessingRequest(**{name: body}, **others).SerializeToString(),
    st.sampled_from(["request_body", "response_body"]),
    HTTP_BODIES,
    OTHERS,
)


def by_hand(data: bytes) -> Message | None:
    """Give a body as it is read by hand, None for what is left to the generated classes."""
    found = body_of(memoryview(data))
    if found is None:
        return None
    number, body, is_last = found
    return {4: RequestBody, 5: ResponseBody}[number](body=body, end_of_stream=is_last)


@given(name=st.sampled_from(["request_body", "response_body"]), body=BODIES, is_last=st.booleans())
def test_a_body_is_read_by_hand_as_the_generated_classes_read_it(name: str, body: bytes, *, is_last: bool) -> None:
    data = pb.ProcessingRequest(**{name: pb.HttpBody(body=body, end_of_stream=is_last)}).SerializeToString()
    kind = RequestBody if name == "request_body" else ResponseBody
    assert by_hand(data) == decode(data) == kind(body=body, end_of_stream=is_last)


@given(BODY_MESSAGES)
def test_what_is_read_by_hand_beside_a_body_changes_nothing(data: bytes) -> None:
    assert by_hand(data) in (None, decode_generated(data))


@given(BODY_MESSAGES, st.data())
def test_whatever_the_generated_classes_take_is_read_as_they_read_it(data: bytes, draw: st.DataObject) -> None:
    broken = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        if broken:
            # What decides is at the beginning, and at the end.
            at = draw.draw(st.integers(-12, 11).filter(lambda at: -len(broken) <= at < len(broken)))
            broken[at : at + 1] = draw.draw(st.binary(max_size=2))
    try:
        read = decode_generated(bytes(broken))
    except PeerError:
        return
    assert by_hand(bytes(broken)) in (None, read)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(
    phase=st.sampled_from([Phase.REQUEST_HEADERS, Phase.REQUEST_BODY]),
    set_headers=st.lists(st.tuples(TEXT, TEXT), max_size=4),
    remove_headers=st.lists(TEXT, max_size=3),
    destination=TEXT,
    body=st.none() | BODIES,
)
def test_steering_is_what_the_generated_classes_make_of_it(
    phase: Phase, set_headers: list[tuple[str, str]], remove_headers: list[str], destination: str, body: bytes | None
) -> None:
    response = pb.ProcessingResponse()
    common = getattr(response, phase.value).response
    common.clear_route_cache = True
    common.header_mutation.SetInParent()
    for name, value in set_headers:
        option = common.header_mutation.set_headers.add(append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
        option.header.key, option.header.raw_value = name, value.encode()
    common.header_mutation.remove_headers.extend(remove_headers)
    if body is not None:
        common.body_mutation.body = body
    response.dynamic_metadata.get_or_create_struct("envoy.lb")["x-gateway-destination-endpoint"] = destination
    steer = Steer(
        phase=phase,
        set_headers=tuple(set_headers),
        remove_headers=tuple(remove_headers),
        destination=destination,
        body=body,
    )
    assert pb.ProcessingResponse.FromString(encode(steer)) == response


def test_a_message_about_nothing_is_a_peer_error() -> None:
    with pytest.raises(PeerError, match="about nothing"):
        decode(b"")


def test_an_unknown_body_mode_is_a_peer_error() -> None:
    strange = pb.ProcessingRequest()
    strange.request_headers.SetInParent()
    strange.protocol_config.request_body_mode = 77
    with pytest.raises(PeerError, match="77 is unknown"):
        decode(strange.SerializeToString())


@given(phase=st.sampled_from([Phase.REQUEST_BODY, Phase.RESPONSE_BODY]), body=BODIES, is_last=st.booleans())
def test_a_chunk_is_what_the_generated_classes_make_of_it(phase: Phase, body: bytes, *, is_last: bool) -> None:
    response = pb.ProcessingResponse()
    streamed = getattr(response, phase.value).response.body_mutation.streamed_response
    streamed.SetInParent()
    streamed.body, streamed.end_of_stream = body, is_last
    assert encode(BodyChunk(phase=phase, body=body, end_of_stream=is_last)) == response.SerializeToString()


@given(BODIES)
def test_a_part_of_an_answer_is_what_the_generated_classes_make_of_it(body: bytes) -> None:
    response = pb.ProcessingResponse()
    response.response_body.response.body_mutation.body = body
    assert encode(AnswerBody(body=body)) == response.SerializeToString()


def test_an_answers_body_is_asked_for_with_its_headers_and_its_end() -> None:
    told = Tell(set_headers=(("x-a", "1"),), remove_headers=("content-length",), body_mode=BodyMode.STREAMED)
    option = {"header": {"key": "x-a", "raw_value": "MQ=="}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    mutation = {"set_headers": [option], "remove_headers": ["content-length"]}
    assert reply(told) == {
        "response_headers": {"response": {"header_mutation": mutation}},
        "mode_override": {"response_body_mode": "STREAMED", "response_trailer_mode": "SEND"},
    }
    assert reply(Tell()) == {"response_headers": {"response": {"header_mutation": {}}}}


@given(st.binary(max_size=40))
def test_bytes_that_are_no_message_are_a_peer_error(data: bytes) -> None:
    try:
        decode(data)
    except PeerError:
        return


@pytest.mark.parametrize("phase", Phase)
def test_to_proceed_is_an_empty_answer_of_the_same_phase(phase: Phase) -> None:
    assert reply(Proceed(phase=phase)) == {phase.value: {}}


@pytest.mark.parametrize("phase", [Phase.REQUEST_HEADERS, Phase.REQUEST_BODY])
def test_steering_sets_headers_and_metadata_and_forgets_the_route(phase: Phase) -> None:
    steer = Steer(phase=phase, set_headers=(("x-a", "ä"),), remove_headers=("x-b",), destination="a:1,b:2")
    assert reply(steer) == {
        phase.value: {
            "response": {
                "header_mutation": {
                    "set_headers": [
                        {"header": {"key": "x-a", "raw_value": "w6Q="}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
                    ],
                    "remove_headers": ["x-b"],
                },
                "clear_route_cache": True,
            }
        },
        "dynamic_metadata": {"envoy.lb": {"x-gateway-destination-endpoint": "a:1,b:2"}},
    }


def test_an_answer_has_status_headers_body_and_details() -> None:
    answer = Answer(status=404, body=b"{}", headers=(("content-type", "application/json"),), details="why")
    assert reply(answer) == {
        "immediate_response": {
            "status": {"code": "NotFound"},
            "headers": {
                "set_headers": [
                    {
                        "header": {"key": "content-type", "raw_value": "YXBwbGljYXRpb24vanNvbg=="},
                        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                    }
                ]
            },
            "body": "e30=",
            "details": "why",
        }
    }
