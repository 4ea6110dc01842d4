"""What Envoy says when it answers a request itself, in OpenAI's error format.

Source: OpenAI API reference, the error object: `{"error": {"message", "type", "param", "code"}}`.
"""

import json
from typing import Any

from argosy.api.names import MAX_BODY_BYTES


def error_body(text: str, kind: str, code: int) -> str:
    """Give an error as OpenAI's clients read it."""
    return json.dumps(_error(text, kind, str(code)))


def local_replies() -> dict[str, Any]:
    """Give the rewriting of Envoy's own answers.

    Only answers that carry a response flag, or 408 or 413, are rewritten: what the picker answers for Envoy to send is
    a local reply too, and is left as it is.
    """
    too_large = f"the request body is larger than {MAX_BODY_BYTES} bytes"
    too_late = "the request did not arrive whole in time"
    unready = "no worker can take this request now: its model is unknown here, or none of its replicas is ready"
    return {
        "mappers": [
            _mapper({"status_code_filter": _status_is(408)}, _error(too_late, "invalid_request_error", "408")),
            _mapper({"status_code_filter": _status_is(413)}, _error(too_large, "invalid_request_error", "413")),
            _mapper({"response_flag_filter": {"flags": ["UH", "NC"]}}, _error(unready, "server_error", "503")),
            _mapper({"response_flag_filter": {}}, _error("%LOCAL_REPLY_BODY%", "server_error", "%RESPONSE_CODE%")),
        ]
    }


def _error(text: str, kind: str, code: str) -> dict[str, Any]:
    return {"error": {"message": text, "type": kind, "param": None, "code": code}}


def _mapper(condition: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    return {"filter": condition, "body_format_override": {"json_format": body, "content_type": "application/json"}}


def _status_is(status: int) -> dict[str, Any]:
    return {"comparison": {"op": "EQ", "value": {"default_value": status, "runtime_key": "argosy.local_reply_status"}}}
