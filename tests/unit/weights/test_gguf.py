"""A GGUF file is whole, or there is a reason why not."""

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.base.errors import UserError
from argosy.edge.weights.gguf import read_gguf
from harness.gguf_files import entry, head, tensor, text


def _file(*, version: int = 3, entries: tuple[bytes, ...] = (), tensors: tuple[bytes, ...] = ()) -> bytes:
    """A file whose tensors begin at the next multiple of 32 and take 64 bytes."""
    return head(entries, tensors, version=version) + bytes(64)


def _tensor(*, kind: int = 0, dimensions: tuple[int, ...] = (4, 4), offset: int = 0) -> bytes:
    return tensor("blk.0.attn_q", *dimensions, kind=kind, offset=offset)


LLAMA = (
    entry("general.architecture", 8, text("llama")),
    entry("llama.block_count", 4, struct.pack("<I", 2)),
    entry("llama.embedding_length", 4, struct.pack("<I", 64)),
    entry("llama.attention.head_count", 4, struct.pack("<I", 8)),
    entry("llama.attention.head_count_kv", 4, struct.pack("<I", 2)),
    entry("llama.context_length", 10, struct.pack("<Q", 4096)),
    entry("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("bc")),
    entry("tokenizer.ggml.scores", 9, struct.pack("<IQ", 6, 2) + bytes(8)),
)
WHOLE = _file(entries=LLAMA, tensors=(_tensor(),))


def _refusal(path: Path) -> str:
    with pytest.raises(UserError) as refused:
        read_gguf(path)
    assert str(path) in str(refused.value)
    return str(refused.value)


def _written(folder: Path, content: bytes) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(content)
    return path


def test_a_whole_file_tells_what_it_holds(tmp_path: Path) -> None:
    found = read_gguf(_written(tmp_path, WHOLE))
    assert (found.architecture, found.tensors, found.size_bytes) == ("llama", 1, len(WHOLE))
    assert found.context_tokens == 4096
    assert found.kv_bytes_per_token == 2 * 2 * (8 + 8) * 2  # layers, KV heads, key and value of 64/8, 16 bits


def test_what_the_file_does_not_say_is_unknown(tmp_path: Path) -> None:
    found = read_gguf(_written(tmp_path, _file(entries=LLAMA[:1], tensors=(_tensor(),))))
    assert (found.context_tokens, found.kv_bytes_per_token) == (None, None)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"GGU", "ends within its header"),
        (b"PK\x03\x04, a zip file", "not a GGUF file (it begins with b'PK"),
        (_file(version=1), "version 1 is not one of"),
        (_file(version=3 << 24), "version 50331648"),
        (_file(entries=LLAMA), "holds no model"),
        (_file(tensors=(_tensor(),)), "holds no model"),
        (_file(entries=LLAMA, tensors=(_tensor(offset=4096),)), "bytes; copy or download it again"),
        (_file(entries=LLAMA, tensors=(_tensor(dimensions=(2**40, 2**40)),)), "bytes; copy or download it again"),
        (_file(entries=LLAMA, tensors=(_tensor(dimensions=(1, 1, 1, 1, 1)),)), "5 dimensions"),
        (_file(entries=(entry("x", 99, b""),), tensors=(_tensor(),)), "unknown kind 99"),
        (_file(entries=(entry("x", 9, struct.pack("<IQ", 9, 1)),)), "array of unknown kind 9"),
        (_file(entries=(entry("x", 9, struct.pack("<IQ", 8, 2**62)),)), "ends within its header"),
        (_file(entries=(entry("x", 8, struct.pack("<Q", 2**62)),)), "ends within its header"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**62, 2**62), "ends within its header"),
    ],
)
def test_a_broken_file_is_refused_with_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    assert reason in _refusal(_written(tmp_path, content))


def test_a_truncated_file_says_how_much_is_there(tmp_path: Path) -> None:
    content = WHOLE[:-1]
    assert f"has {len(content)} of {len(WHOLE)} bytes" in _refusal(_written(tmp_path, content))


def test_what_is_no_readable_file_is_refused_with_its_reason(tmp_path: Path) -> None:
    assert "is a directory" in _refusal(tmp_path)
    assert "no such file" in _refusal(tmp_path / "absent.gguf")
    assert "cannot be read (Not a directory)" in _refusal(_written(tmp_path, WHOLE) / "below")


@settings(max_examples=200)
@given(length=st.integers(0, len(WHOLE) - 1))
def test_no_part_of_a_file_passes_for_a_whole_one(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "part.gguf"
    path.write_bytes(WHOLE[:length])
    assert _refusal(path)


@settings(max_examples=300)
@given(noise=st.binary(max_size=200), at=st.integers(4, len(WHOLE)))
def test_noise_is_read_or_refused_but_never_breaks_the_reader(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.gguf"
    path.write_bytes(WHOLE[:at] + noise + WHOLE[at + len(noise) :])
    with contextlib.suppress(UserError):
        assert read_gguf(path).tensors
