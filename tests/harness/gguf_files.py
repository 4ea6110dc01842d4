"""GGUF files, written for tests. Sources: ggml, docs/gguf.md; for adapters llama.cpp, `llama-adapter.cpp`."""

import random
import struct
from array import array
from collections.abc import Sequence
from pathlib import Path

TEXT, FLOAT = 8, 6
ALIGNMENT = 32


def text(value: str) -> bytes:
    """Give a string as it stands in a file."""
    return struct.pack("<Q", len(value)) + value.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    """Give one entry of the metadata."""
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str, *dimensions: int, kind: int = 0, offset: int = 0) -> bytes:
    """Give what is said of one tensor: f32 unless another kind is named."""
    sizes = struct.pack(f"<{len(dimensions)}Q", *dimensions)
    return text(name) + struct.pack("<I", len(dimensions)) + sizes + struct.pack("<IQ", kind, offset)


def head(entries: Sequence[bytes], tensors: Sequence[bytes], *, version: int = 3) -> bytes:
    """Give all that comes before the tensors' numbers."""
    said = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join((*entries, *tensors))
    return said.ljust(-(-len(said) // ALIGNMENT) * ALIGNMENT, b"\0")


def write_adapter(path: Path, seed: int, *, scale: float = 0.16, layers: int = 30, width: int = 576) -> Path:
    """Write a LoRA adapter of the embedded model: random, and so strong that it speaks with a voice of its own."""
    rng, rank = random.Random(seed), 4
    tensors, numbers = list[bytes](), array("f")
    for layer in range(layers):
        for part, sizes in (("lora_a", (width, rank)), ("lora_b", (rank, width))):
            name = f"blk.{layer}.attn_output.weight.{part}"
            tensors.append(tensor(name, *sizes, offset=len(numbers) * numbers.itemsize))
            numbers.extend(rng.gauss(0, scale) for _ in range(width * rank))
    entries = [
        entry("general.architecture", TEXT, text("llama")),
        entry("general.type", TEXT, text("adapter")),
        entry("adapter.type", TEXT, text("lora")),
        entry("adapter.lora.alpha", FLOAT, struct.pack("<f", 2.0 * rank)),
    ]
    path.write_bytes(head(entries, tensors) + numbers.tobytes())
    return path
