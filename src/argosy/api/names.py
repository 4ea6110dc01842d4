"""Names on the wire and on objects: headers, metadata keys, labels, annotations.

Sources: the Endpoint Picker Protocol (kubernetes-sigs/gateway-api-inference-extension, docs/proposals/004) and
llm-d's router (pkg/epp/metadata). Header names are lower case, as HTTP/2 carries them.
"""

from typing import Final

MODEL_HEADER: Final = "x-gateway-model-name"
"""The model of a request, for HTTPRoute matches. Clients cannot set it."""
POOL_HEADER: Final = "x-argosy-pool"
"""The pool that the picker chose, `namespace/name`. Between picker and Envoy only."""
DESTINATION: Final = "x-gateway-destination-endpoint"
"""Header and key in `envoy.lb` metadata: an ordered list `ip:port,ip:port`."""
DESTINATION_NAMESPACE: Final = "envoy.lb"
SERVED: Final = "x-gateway-destination-endpoint-served"
SUBSET: Final = "x-gateway-destination-endpoint-subset"
SUBSET_NAMESPACE: Final = "envoy.lb.subset_hint"
LISTENER_ATTRIBUTE: Final = "xds.filter_chain_name"
"""Envoy's attribute of a request by which the picker knows its listener (`decide.translation.plan.listener_name`)."""
UPSTREAM_ATTRIBUTE: Final = "upstream.address"
"""Envoy's attribute of an answer: who gives it, `ip:port`."""
DROPPED_REASON: Final = "x-llm-d-request-dropped-reason"

STEERING_HEADERS: Final = (
    MODEL_HEADER,
    "x-gateway-base-model-name",
    POOL_HEADER,
    DESTINATION,
    SERVED,
    SUBSET,
    "x-gateway-destination-endpoint-scores",
    "x-gateway-destination-endpoint-fallback",
    "x-gateway-model-name-rewrite",
    "x-llm-d-model-name-rewrite",
    "x-prefiller-host-port",
    "x-prefiller-hosts-ports",
    "x-encoder-hosts-ports",
    "x-data-parallel-host-port",
    "x-data-parallel-rank",
)
"""Headers that say where a request goes. Always removed from what a client sends."""

MODEL_METADATA_NAMESPACE: Final = "argosy.request"
MODEL_METADATA_KEY: Final = "model"
"""Where Envoy's json_to_metadata puts the model of the body, for routing without a picker."""

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
PART_OF: Final = "app.kubernetes.io/part-of"
COMPONENT: Final = "app.kubernetes.io/component"
INSTANCE: Final = "app.kubernetes.io/name"
SERVICE_LABEL: Final = "argosy.dev/service"
"""The LLMService that a workload belongs to."""
ROLE_LABEL: Final = "llm-d.ai/role"
ENGINE_LABEL: Final = "llm-d.ai/engine-type"
TEMPLATE_HASH_LABEL: Final = "pod-template-hash"

CONTROLLER_NAME: Final = "argosy.dev/gateway-controller"
GATEWAY_CLASS: Final = "argosy"
SYSTEM_NAMESPACE: Final = "argosy-system"

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
"""The largest request body that a gateway takes; above it 413."""
ENGINE_PORT: Final = 18100
XDS_PORT: Final = 18000
PICKER_PORT: Final = 9002
METRICS_PORT: Final = 18090
GATEWAY_PORT: Final = 8080
"""Ports inside a pod; Gateway's is the default of its listener. Unusual ones: on a laptop a program that listens on
all addresses at one of them would leave no address for ours."""
