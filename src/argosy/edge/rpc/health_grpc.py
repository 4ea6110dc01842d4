"""gRPC health served and asked with grpcio; whoever does not serve by it does not load it."""

from collections.abc import Callable, Collection
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from argosy.edge.rpc.health import NOT_SERVING, SERVICE, SERVING

_WORDS: Final = {0: "UNKNOWN", SERVING: "SERVING", NOT_SERVING: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


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


async def ask_health(authority: str, service: str, timeout_s: float) -> tuple[bool, str]:
    """Say whether a service, or the server where it is empty, is SERVING, and what the answer was as a sentence."""
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
    async with grpc.aio.insecure_channel(authority, options=options) as channel:
        check = channel.unary_unary(
            f"/{SERVICE}/Check",
            request_serializer=StringValue.SerializeToString,
            response_deserializer=Int32Value.FromString,
        )
        try:
            answer = await check(StringValue(value=service), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            return False, f"grpc.health.v1 at {authority} failed: {error.code().name}: {error.details()}"
    return answer.value == SERVING, f"grpc.health.v1 at {authority} says {_WORDS.get(answer.value, answer.value)}"
