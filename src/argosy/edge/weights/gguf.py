"""GGUF files: whether one is whole, and what is in it.

Rules of this file:
- Nothing of the file is trusted: every length is compared with what is left before it is used.
- Only the header is read (metadata, the table of tensors); of the tensors themselves only the size is checked.
- Every error is a `UserError` that names the file, the reason and what to do.

Source: ggml, docs/gguf.md, and the block sizes of ggml.c.
"""

import mmap
import struct
from pathlib import Path
from typing import Any, Final

import msgspec

from argosy.base.errors import UserError

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_SCALARS: Final = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING: Final = 8
_ARRAY: Final = 9
_MAX_DIMENSIONS: Final = 4
_ADAPTER: Final = "adapter"
"""The `general.type` of a file that changes a model; that of models may be missing."""

_BLOCKS: Final = {
    0: (1, 4),  # f32
    1: (1, 2),  # f16
    2: (32, 18),  # q4_0
    3: (32, 20),  # q4_1
    6: (32, 22),  # q5_0
    7: (32, 24),  # q5_1
    8: (32, 34),  # q8_0
    9: (32, 36),  # q8_1
    10: (256, 84),  # q2_k
    11: (256, 110),  # q3_k
    12: (256, 144),  # q4_k
    13: (256, 176),  # q5_k
    14: (256, 210),  # q6_k
    15: (256, 292),  # q8_k
    16: (256, 66),  # iq2_xxs
    17: (256, 74),  # iq2_xs
    18: (256, 98),  # iq3_xxs
    19: (256, 50),  # iq1_s
    20: (32, 18),  # iq4_nl
    21: (256, 110),  # iq3_s
    22: (256, 82),  # iq2_s
    23: (256, 136),  # iq4_xs
    24: (1, 1),  # i8
    25: (1, 2),  # i16
    26: (1, 4),  # i32
    27: (1, 8),  # i64
    28: (1, 8),  # f64
    29: (256, 56),  # iq1_m
    30: (1, 2),  # bf16
    34: (256, 54),  # tq1_0
    35: (256, 66),  # tq2_0
    39: (32, 17),  # mxfp4
}
"""ggml type → (values, bytes) of one block. A type that is not here cannot be checked for its size."""

_FILE_TYPES: Final = {
    0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 7: "q8_0", 8: "q5_0", 9: "q5_1",
    10: "q2_k", 11: "q3_k_s", 12: "q3_k_m", 13: "q3_k_l", 14: "q4_k_s", 15: "q4_k_m", 16: "q5_k_s", 17: "q5_k_m",
    18: "q6_k", 19: "iq2_xxs", 20: "iq2_xs", 23: "iq3_xxs", 25: "iq4_nl", 26: "iq3_s", 30: "iq4_xs", 32: "bf16",
    36: "tq1_0", 37: "tq2_0", 38: "mxfp4",
}  # fmt: skip
"""`general.file_type` → quantization (llama.cpp, `llama_ftype` in llama.h)."""


class Gguf(msgspec.Struct, frozen=True, kw_only=True):
    """What the header of a whole file says."""

    path: str
    size_bytes: int
    architecture: str
    is_adapter: bool
    """Whether it changes a model, as LoRA does, and is none by itself."""
    tensors: int
    context_tokens: int | None
    """The longest context that the model was trained for; None when the file does not say."""
    kv_bytes_per_token: int | None
    """Keys and values of one token at 16 bits, all layers together; None when the file does not say."""
    quantization: str | None
    """How most tensors are stored, as `spec.model.quantization` names it; None when the file does not say."""


class _BrokenError(Exception):
    """The bytes are not a whole GGUF file; the text is the reason."""


def read_gguf(path: Path) -> Gguf:
    """Check that `path` is a whole GGUF model or adapter, and say what it holds. Raises UserError."""
    again = "copy or download it again"
    try:
        if path.is_dir():
            raise UserError(f"weights {path}: is a directory; name the .gguf file in it")
        with path.open("rb") as file:
            size_bytes = path.stat().st_size
            if size_bytes == 0:
                raise UserError(f"weights {path}: the file is empty; {again}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(data).read(path)
    except FileNotFoundError:
        raise UserError(f"weights {path}: there is no such file; correct the path") from None
    except _BrokenError as error:
        raise UserError(f"weights {path}: {error}; {again}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"weights {path}: cannot be read ({reason}); make it a readable file") from None


class _Reader:
    """Walks the header once, from front to back."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._size = len(data)
        self._at = 0

    def read(self, path: Path) -> Gguf:
        magic = self._take(4)
        if magic != _MAGIC:
            raise UserError(f"weights {path}: not a GGUF file (it begins with {magic!r}); llama.cpp reads GGUF only")
        version = self._number("<I")
        if version not in _VERSIONS:
            raise UserError(
                f"weights {path}: GGUF version {version} is not one of {_VERSIONS}; convert the model again"
            )
        tensors, entries = self._number("<Q"), self._number("<Q")
        metadata: dict[str, Any] = {}
        for _ in range(entries):
            key = self._string()
            metadata[key] = self._value(self._number("<I"))
        end_bytes = max((self._tensor_end() for _ in range(tensors)), default=0)
        alignment = _positive(metadata.get("general.alignment", 32)) or 32
        begin_bytes = -(-self._at // alignment) * alignment
        if tensors and begin_bytes + end_bytes > self._size:
            raise _BrokenError(f"has {self._size} of {begin_bytes + end_bytes} bytes")
        architecture = metadata.get("general.architecture")
        if not isinstance(architecture, str) or not tensors:
            raise UserError(f"weights {path}: holds no model (no architecture or no tensors); name a model's GGUF file")
        return _described(path, self._size, architecture, tensors, metadata)

    def _take(self, count: int) -> bytes:
        if count > self._size - self._at:
            raise _BrokenError(f"ends within its header, after {self._size} bytes")
        self._at += count
        return self._data[self._at - count : self._at]

    def _number(self, layout: str) -> int:
        return int(struct.unpack(layout, self._take(struct.calcsize(layout)))[0])

    def _string(self) -> str:
        return self._take(self._number("<Q")).decode("utf-8", "replace")

    def _value(self, kind: int) -> Any:
        """One metadata value; arrays (the vocabulary is one) are stepped over and give their length."""
        if kind == _STRING:
            return self._string()
        if kind in _SCALARS:
            return struct.unpack(_SCALARS[kind], self._take(struct.calcsize(_SCALARS[kind])))[0]
        if kind != _ARRAY:
            raise _BrokenError(f"has a metadata value of unknown kind {kind}")
        inner, count = self._number("<I"), self._number("<Q")
        if inner in _SCALARS:
            self._skip(count * struct.calcsize(_SCALARS[inner]))
        elif inner == _STRING:
            for _ in range(count):
                self._skip(self._number("<Q"))
        else:
            raise _BrokenError(f"has an array of unknown kind {inner}")
        return count

    def _skip(self, count: int) -> None:
        if count > self._size - self._at:
            raise _BrokenError(f"ends within its header, after {self._size} bytes")
        self._at += count

    def _tensor_end(self) -> int:
        """Where one tensor ends, in bytes after the header."""
        self._string()
        dimensions = self._number("<I")
        if dimensions > _MAX_DIMENSIONS:
            raise _BrokenError(f"has a tensor of {dimensions} dimensions")
        values = 1
        for _ in range(dimensions):
            values *= self._number("<Q")
        kind, offset_bytes = self._number("<I"), self._number("<Q")
        block_values, block_bytes = _BLOCKS.get(kind, (1, 0))
        return offset_bytes + values // block_values * block_bytes


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _described(path: Path, size_bytes: int, architecture: str, tensors: int, metadata: dict[str, Any]) -> Gguf:
    """The header in our words. Arrays per layer count as unknown."""

    def number(name: str) -> int | None:
        return _positive(metadata.get(f"{architecture}.{name}"))

    layers, width, heads = number("block_count"), number("embedding_length"), number("attention.head_count")
    kv_heads = number("attention.head_count_kv") or heads
    kv_bytes = None
    if layers and width and heads and kv_heads:
        head_size = width // heads
        keys, values = number("attention.key_length") or head_size, number("attention.value_length") or head_size
        kv_bytes = layers * kv_heads * (keys + values) * 2
    file_type = metadata.get("general.file_type")
    return Gguf(
        path=str(path),
        size_bytes=size_bytes,
        architecture=architecture,
        is_adapter=metadata.get("general.type") == _ADAPTER,
        tensors=tensors,
        context_tokens=number("context_length"),
        kv_bytes_per_token=kv_bytes,
        quantization=_FILE_TYPES.get(file_type) if isinstance(file_type, int) else None,
    )
