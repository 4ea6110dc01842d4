"""What this version, and the place it runs in, can do; what it cannot gets a stand-in (`stand_ins`).

Only what planning really turns into objects is named here: a capability that no object shows would be a field ignored
in silence.
"""

from typing import Final

import msgspec

from argosy.engines import llama_cpp, vllm

ENGINES: Final = frozenset({llama_cpp.NAME, vllm.NAME})
"""The engines of this version."""
CPU: Final = "cpu"
"""The value of `hardware.device` for no accelerator."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """A place to run in.

    `cpus` are those of the one machine there is, shared out among all replicas; None where a scheduler knows better.
    `replicas` are the most that a service may have; None where a scheduler knows better.
    `limits_memory` says whether a replica's memory is bounded by what `hardware.memory` says.
    `image_registry` comes before the names of images.
    `engines` are those that are there.
    `hub` are the models of Hugging Face's hub that are there, as sources; None where they are fetched.
    """

    cpus: int | None = None
    replicas: int | None = None
    limits_memory: bool = True
    image_registry: str = ""
    engines: frozenset[str] = ENGINES
    hub: frozenset[str] | None = None


CLUSTER: Final = Capabilities()


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model's weights; None is unknown."""

    size_bytes: int
    kv_bytes_per_token: int | None = None
    context_tokens: int | None = None
    quantization: str | None = None


EMBEDDED: Final = Weights(
    size_bytes=llama_cpp.EMBEDDED_WEIGHTS_BYTES,
    kv_bytes_per_token=23_040,  # 30 layers, keys and values of 3 heads of 64 numbers of 2 bytes
    context_tokens=llama_cpp.EMBEDDED_CONTEXT_TOKENS,
    quantization=llama_cpp.EMBEDDED_QUANTIZATION,
)
