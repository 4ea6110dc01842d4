"""The gRPC health service (grpc.health.v1.Health/Check), as probes of Envoy and Kubernetes ask it.

Its messages have one field each, with number 1, so the wrappers that protobuf ships read and write the same bytes:
HealthCheckRequest{string service} is a StringValue, HealthCheckResponse{enum status} an Int32Value.
"""

from typing import Final

SERVICE: Final = "grpc.health.v1.Health"
PICKER_NAMES: Final = (
    *("", "readiness", "liveness", "inference-extension"),
    "envoy.service.ext_proc.v3.ExternalProcessor",
)
"""Names by which a picker's health is asked: by Kubernetes, by Envoy, by gateways and their conformance tests."""
ALWAYS: Final = ("liveness",)
SERVING: Final = 1
NOT_SERVING: Final = 2
