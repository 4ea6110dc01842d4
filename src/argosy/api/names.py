"""Names on the wire and on objects: headers, metadata keys, labels, annotations.

Sources: the Endpoint Picker Protocol (kubernetes-sigs/gateway-api-inference-extension, docs/proposals/004) and
llm-d's router (pkg/epp/metadata). Header names are lower case, as HTTP/2 carries them.
"""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

MODEL_HEADER: Final = "x-gateway-model-name"
"""The model of a request, for HTTPRoute matches. Clients cannot set it."""
REWRITE_HEADER: Final = "x-llm-d-model-name-rewrite"
"""The model that a request is served by in the place of the one that it asks for. Clients cannot set it."""
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
REQUEST_ID_HEADER: Final = "x-request-id"
"""The proxy makes one where the client has sent none, and sends it back with the answer."""
DROPPED_REASON: Final = "x-llm-d-request-dropped-reason"

PREFILLER_HEADER: Final = "x-prefiller-host-port"
"""By which llm-d's routing sidecar is told its prefill worker, `ip:port`."""

LEG_HEADER: Final = "x-argosy-leg"
"""What a picker says beside a request by which an engine moves a KV cache: `prefill` or `decode`. Our engine moves none
without it, and clients cannot set it."""

MOVED_HEADER: Final = "x-argosy-moved"
"""Of an answer to a decode leg: what became of the KV cache (`engines.moved`). The picker takes it away."""

STEERING_HEADERS: Final = (
    MODEL_HEADER,
    "x-gateway-base-model-name",
    "x-gateway-model-name-rewrite",
    "x-llm-d-model-name",
    "x-llm-d-base-model-name",
    REWRITE_HEADER,
    POOL_HEADER,
    DESTINATION,
    SERVED,
    SUBSET,
    "x-gateway-destination-endpoint-scores",
    "x-gateway-destination-endpoint-fallback",
    "x-llm-d-destination-endpoint",
    "x-llm-d-destination-endpoint-served",
    "x-llm-d-destination-endpoint-subset",
    "x-llm-d-destination-endpoint-scores",
    "x-llm-d-destination-endpoint-fallback",
    "epp-profile",
    "x-kv-cache-source-host-port",
    PREFILLER_HEADER,
    LEG_HEADER,
    "x-prefiller-hosts-ports",
    "x-encoder-hosts-ports",
    "x-data-parallel-host-port",
    "x-data-parallel-rank",
)
"""Headers that say where a request goes. Always removed from what a client sends."""

EXPLAIN_HEADER: Final = "x-argosy-explain"
"""Of a request: 1 asks for the decision. Of its answer: the decision in a sentence."""
InputName: TypeAlias = Literal["objective", "fairness", "slo", "session", "explain"]
TTFT_SLO_HEADERS: Final = ("x-llm-d-slo-ttft-ms", "x-slo-ttft-ms")
TPOT_SLO_HEADERS: Final = ("x-llm-d-slo-tpot-ms", "x-slo-tpot-ms")
INPUT_HEADERS: Final[Mapping[InputName, tuple[str, ...]]] = {
    "objective": ("x-llm-d-inference-objective", "x-gateway-inference-objective"),
    "fairness": ("x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id"),
    "slo": (*TTFT_SLO_HEADERS, *TPOT_SLO_HEADERS),
    "session": ("x-session-id", "x-session-token"),
    "explain": (EXPLAIN_HEADER,),
}
"""Headers by which a client says how it wants to be treated; of several names for one thing the first counts. Believed
where the listener or the pool trusts them (`TRUSTED_LISTENERS`, `TRUSTED_INPUTS`); no engine sees them."""
INPUT_HEADER_NAMES: Final = tuple(name for names in INPUT_HEADERS.values() for name in names)
TRUSTED_LISTENERS: Final = "argosy.dev/trusted-listeners"
"""Annotation of a Gateway: names of listeners, with commas between, whose clients' inputs are believed."""
TRUSTED_INPUTS: Final = "argosy.dev/trusted-inputs"
"""Annotation of an InferencePool: inputs, with commas between, that are believed of whoever asks this pool."""

MODEL_METADATA_NAMESPACE: Final = "argosy.request"
MODEL_METADATA_KEY: Final = "model"
"""Where Envoy's json_to_metadata puts the model of the body, for routing without a picker."""

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
PART_OF: Final = "app.kubernetes.io/part-of"
COMPONENT: Final = "app.kubernetes.io/component"
INSTANCE: Final = "app.kubernetes.io/name"
GATEWAY_LABEL: Final = "gateway.networking.k8s.io/gateway-name"
"""The Gateway that an object was made for (Gateway API, GEP-1762)."""
SERVICE_LABEL: Final = "argosy.dev/service"
"""The LLMService that a workload belongs to."""
REVISION_LABEL: Final = "argosy.dev/revision"
"""A hash of the pod template, on its pods: those of the newest revision carry that of the Deployment's template."""
MODELS_ANNOTATION: Final = "argosy.dev/models"
"""The names that a pod's engine answers to, with spaces between; a pod without it is asked for any."""
ROLE_LABEL: Final = "llm-d.ai/role"
"""What legs of a request a pod serves; a pod without it serves whole requests."""
PREFILL_ROLE: Final = "prefill"
DECODE_ROLE: Final = "decode"
BOTH_ROLES: Final = "prefill-decode"
"""Values of the role: computes prompts for others alone, answers (also alone), either."""
KV_LAYOUT_LABEL: Final = "argosy.dev/kv-layout"
"""A hash of all that the KV cache of a pod depends on: caches move between pods of equal values only."""
WORKERS_LABEL: Final = "argosy.dev/workers"
"""Which of `spec.workers` of its LLMService a pod is: serve, prefill, decode or both."""
ENGINE_LABEL: Final = "llm-d.ai/engine-type"
TEMPLATE_HASH_LABEL: Final = "pod-template-hash"

CONTROLLER_NAME: Final = "argosy.dev/gateway-controller"
GATEWAY_CLASS: Final = "argosy"
SYSTEM_NAMESPACE: Final = "argosy-system"
PICKER_SERVICE: Final = "argosy-picker"
"""The Service of the pickers, in the installation's namespace and in those of pools that name it."""

DECISIONS_PATH: Final = "/debug/decisions"
"""Where a picker shows its decisions, beside its metrics; below it each by the id of its request."""

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
"""The largest request body that a gateway takes; above it 413."""
ENGINE_PORT: Final = 18100
KV_PORT: Final = 5600
"""Where an engine hands over KV caches to others of its service; vLLM's NIXL side channel has this one."""
XDS_PORT: Final = 18000
PICKER_PORT: Final = 9002
METRICS_PORT: Final = 18090
GATEWAY_PORT: Final = 8080
"""Ports inside a pod; Gateway's is the default of its listener. Unusual ones: on a laptop a program that listens on
all addresses at one of them would leave no address for ours."""
