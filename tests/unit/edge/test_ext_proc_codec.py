from typing import Any

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import given
from hypothesis import strategies as st

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
from argosy.edge.rpc.ext_proc_codec import decode, encode

BASE64_POST, BASE64_200 = "UE9TVA==", "MjAw"


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
        ({"response_body": {"body": "e30="}}, ResponseBody()),
        ({"response_trailers": {}}, ResponseTrailers()),
    ],
)
def test_a_message_of_envoy_is_read(fields: dict[str, Any], value: Message) -> None:
    assert decode(message(**fields)) == value


def test_a_message_about_nothing_is_a_peer_error() -> None:
    with pytest.raises(PeerError, match="about nothing"):
        decode(b"")


def test_an_unknown_body_mode_is_a_peer_error() -> None:
    strange = pb.ProcessingRequest()
    strange.request_headers.SetInParent()
    strange.protocol_config.request_body_mode = 77
    with pytest.raises(PeerError, match="77 is unknown"):
        decode(strange.SerializeToString())


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
