"""The gRPC health service (grpc.health.v1.Health/Check), as probes of Envoy and Kubernetes ask it.

Its messages have one field each, with number 1, so the wrappers that protobuf ships read and write the same bytes:
HealthCheckRequest{string service} is a StringValue, HealthCheckResponse{enum status} an Int32Value.
"""

from collections.abc import Callable, Collection
from typing import Any, Final

import grpc
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

SERVICE: Final = "grpc.health.v1.Health"
SERVING: Final = 1
NOT_SERVING: Final = 2


def health_handler(names: Collection[str], *, always: Collection[str] = (), ready: Callable[[], bool]) -> Any:
    """Give the handler for `add_generic_rpc_handlers`: `names` serve while `ready`, those of `always` at any time."""

    async def check(request: Any, context: Any) -> Any:
        if request.value not in names:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.value!r} here")
        return Int32Value(value=SERVING if request.value in always or ready() else NOT_SERVING)

    handler = grpc.unary_unary_rpc_method_handler(
        check, request_deserializer=StringValue.FromString, response_serializer=Int32Value.SerializeToString
    )
    return grpc.method_handlers_generic_handler(SERVICE, {"Check": handler})
