"""What Argosy knows of vLLM (0.32): arguments and environment from typed fields, how it starts, drains and ends.

Planning makes a container from these values; the same container runs as a process where vLLM is installed. Pure values.

Rules of this file:

- Every argument is one that vLLM's own parser takes; what a user wrote stands behind `=`, so that it is no option.
- No option goes through that Argosy has no field for.
- On CPUs nothing is left to vLLM that it would take from the whole machine: threads, and memory for the KV cache.

On SIGTERM vLLM takes nothing new and, given `--shutdown-timeout`, ends when all requests have their answers and every
KV cache that another worker was told to fetch has been fetched, or has had its time (`KV_LEASE_S`). Before it, it knows
of no leaving: what still comes in is refused with 500, so it must be out of every list by then.
"""

import json
from typing import Final, Literal, TypeAlias

import msgspec

from argosy.api.disaggregation import KVProtocol
from argosy.api.vllm_options import VLLMOptions

NAME: Final = "vllm"
"""The value of `spec.engine.name` and of the label `llm-d.ai/engine-type`."""
VERSION: Final = "0.32.0"
GPU_IMAGE: Final = f"vllm/vllm-openai:v{VERSION}"
CPU_IMAGE: Final = f"vllm/vllm-openai-cpu:v{VERSION}"
MODULE: Final = "vllm.entrypoints.openai.api_server"
"""What the images run, and `python -m` where vLLM is installed."""
KV_PROTOCOL: Final[KVProtocol] = "nixlv2"

WEIGHT_SCHEMES: Final = frozenset({"hf", "file"})
"""Where it reads weights from by itself: a model of Hugging Face's hub, or a folder of that form."""
GGUF_SUFFIX: Final = ".gguf"
"""Of files that it does not read."""
KVRole: TypeAlias = Literal["kv_producer", "kv_consumer", "kv_both"]
DTYPES: Final = {"f16": "float16", "bf16": "bfloat16", "f32": "float32"}
"""By `spec.model.quantization`."""
QUANTIZATIONS: Final = {
    "fp8": "fp8",
    "awq": "awq",
    "gptq": "gptq",
    "mxfp4": "mxfp4",
    "int8": "int8_per_channel_weight_only",
}
"""By `spec.model.quantization`, on GPUs. Weights that are stored in other ways say so themselves."""
CPU_DTYPE: Final = "bfloat16"
_RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` takes."""
MAX_ADAPTERS_AT_ONCE: Final = 8
"""Adapters of one batch; more are served in turn."""

CPU_CONTEXT_TOKENS: Final = 2048
CPU_PARALLEL: Final = 4
"""What vLLM would take from the model, and from the size of a GPU."""
CPU_KV_BYTES: Final = 1024**3
"""Of a KV cache whose need is not known."""
PROCESS_BYTES: Final = 2 * 1024**3
"""Of vLLM itself, its three processes together, on CPUs."""

ACCEPT_S: Final = 5
"""How long it goes on before SIGTERM, for lists of endpoints to be without it."""
KV_LEASE_S: Final = 30
"""How long a KV cache waits for whom it was computed for."""
PEER_SILENCE_S: Final = 5
"""How long the network of a worker may be silent that a KV cache is fetched from: as long as vLLM waits for one that it
has never met. It gives a fetch under way no limit, and UCX's own TCP connections have the kernel's, a quarter of an
hour."""
DRAIN_S: Final = 120
EXIT_S: Final = 15
"""What its end takes with nothing to do, 6 s, and some more."""
GRACE_S: Final = ACCEPT_S + DRAIN_S + EXIT_S
"""`terminationGracePeriodSeconds`."""
STUCK_GRACE_S: Final = 5

HEALTH_PATH: Final = "/health"
"""200 from when the model is loaded, also while it drains; 503 once its engine is dead."""
LIVENESS_PERIOD_S: Final = 5
LIVENESS_FAILURES: Final = 6
"""A worker that stands still is killed after half a minute, which also ends what others fetch from it."""
STARTUP_S: Final = 600
"""For loading and compiling."""
DOWNLOAD_S: Final = 1800
"""More, where weights are fetched first."""


class Adapter(msgspec.Struct, frozen=True, kw_only=True):
    """LoRA weights under the name that clients ask for: a folder, or a name of Hugging Face's hub."""

    name: str
    path: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One server: what it is told when it starts."""

    model: str
    """The name that clients put in `model`, and that answers carry."""
    weights: str
    """A folder, or a name of Hugging Face's hub."""
    on_cpu: bool
    kv_role: KVRole | None = None
    """Its part in a transfer; None where it computes whole requests."""
    host: str = "$(POD_IP)"
    port: int
    kv_port: int
    threads: str = ""
    """On CPUs: how many, or a `$(NAME)` that gives it."""
    context_tokens: int | None = None
    parallel: int | None = None
    kv_bytes: int | None = None
    """Of the KV cache, on each device."""
    quantization: str = "auto"
    """As `spec.model.quantization`."""
    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    adapters: tuple[Adapter, ...] = ()
    options: VLLMOptions = VLLMOptions()


def args(settings: Settings) -> tuple[str, ...]:
    """The arguments, in a fixed order."""
    return (
        *(f"--model={settings.weights}", f"--served-model-name={settings.model}"),
        *(f"--host={settings.host}", f"--port={settings.port}"),
        *_sizes(settings),
        *_form(settings),
        *_parallelism(settings),
        *_options(settings),
        *_adapters(settings),
        *_transfer(settings),
        "--enable-prompt-tokens-details",
        f"--shutdown-timeout={DRAIN_S}",
        "--disable-access-log-for-endpoints=/health,/metrics",
    )


def environment(settings: Settings) -> dict[str, str]:
    """Give the variables: nothing is reported to anybody, and what is here is not looked for elsewhere."""
    local = settings.weights.startswith("/") and all(each.path.startswith("/") for each in settings.adapters)
    found = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **({"HF_HUB_OFFLINE": "1"} if local else {})}
    if settings.on_cpu:
        found |= {"OMP_NUM_THREADS": settings.threads, "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    if settings.kv_role is not None:
        found |= {
            "VLLM_NIXL_SIDE_CHANNEL_HOST": settings.host,
            "VLLM_NIXL_SIDE_CHANNEL_PORT": str(settings.kv_port),
            **_SILENCE,
        }
    return found


def dtype(settings: Settings) -> str:
    """Give the type that it computes with, and that its KV cache holds: auto is the weights' own."""
    return DTYPES.get(settings.quantization) or (CPU_DTYPE if settings.on_cpu else "auto")


def cpu_kv_bytes(kv_bytes_per_token: int | None, *, context_tokens: int, parallel: int) -> int:
    """Give the size of a KV cache for as many requests as decode together, each as long as it may be."""
    return CPU_KV_BYTES if kv_bytes_per_token is None else kv_bytes_per_token * context_tokens * parallel


def _sizes(settings: Settings) -> tuple[str, ...]:
    found = {
        "max-model-len": settings.context_tokens,
        "max-num-seqs": settings.parallel,
        "kv-cache-memory-bytes": settings.kv_bytes,
    }
    return tuple(f"--{name}={value}" for name, value in found.items() if value is not None)


def _form(settings: Settings) -> tuple[str, ...]:
    method = None if settings.on_cpu else QUANTIZATIONS.get(settings.quantization)
    return (f"--dtype={dtype(settings)}", *((f"--quantization={method}",) if method else ()))


def _parallelism(settings: Settings) -> tuple[str, ...]:
    found = {"tensor": settings.tensor, "pipeline": settings.pipeline, "data": settings.data}
    return tuple(f"--{name}-parallel-size={size}" for name, size in found.items() if size > 1)


def _options(settings: Settings) -> tuple[str, ...]:
    asked = settings.options
    eager = settings.on_cpu if asked.enforce_eager is None else asked.enforce_eager
    tokens, percent, block = asked.max_batched_tokens, asked.gpu_memory_percent, asked.block_tokens
    return (
        *(() if asked.prefix_caching else ("--no-enable-prefix-caching",)),
        *(() if asked.chunked_prefill else ("--no-enable-chunked-prefill",)),
        *(("--enforce-eager",) if eager else ()),
        *(() if block is None else (f"--block-size={block}",)),
        *(() if tokens is None else (f"--max-num-batched-tokens={tokens}",)),
        *(() if percent is None or settings.on_cpu else (f"--gpu-memory-utilization={percent / 100:g}",)),
    )


def _adapters(settings: Settings) -> tuple[str, ...]:
    if not settings.adapters:
        return ()
    asked = settings.options.max_adapter_rank
    return (
        "--enable-lora",
        f"--max-loras={min(len(settings.adapters), MAX_ADAPTERS_AT_ONCE)}",
        f"--max-cpu-loras={len(settings.adapters)}",
        f"--max-lora-rank={next(rank for rank in _RANKS if rank >= asked)}",
        "--lora-modules",
        *(_json({"name": each.name, "path": each.path}) for each in settings.adapters),
    )


def _transfer(settings: Settings) -> tuple[str, ...]:
    if settings.kv_role is None:
        return ()
    # Its own policy, `fail`, ends a request whose KV cache cannot be fetched.
    config = {"kv_connector": "NixlConnector", "kv_role": settings.kv_role, "kv_load_failure_policy": "recompute"}
    return (f"--kv-transfer-config={_json(config | ({'kv_buffer_device': 'cpu'} if settings.on_cpu else {}))}",)


_SILENCE: Final = {
    # What is sent must be acknowledged within this time, and so must probes, which go out while nothing is sent.
    "UCX_TCP_USER_TIMEOUT": f"{PEER_SILENCE_S}s",
    "UCX_TCP_KEEPIDLE": "2s",
    "UCX_TCP_KEEPINTVL": "1s",
}
"""UCX's settings (1.23, `src/uct/tcp`) for what it moves over TCP; the limits of RDMA are its own, and shorter."""


def _json(value: dict[str, str]) -> str:
    return json.dumps(value, separators=(",", ":"))
