"""Folders of weights in Hugging Face's form."""

import json
from pathlib import Path
from typing import Any

import pytest

from argosy.base.errors import UserError
from argosy.edge.weights.folder import Folder, read_folder

CONFIG: dict[str, Any] = {
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
}


def made(folder: Path, **more: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({**CONFIG, **more}))
    (folder / "model-1.safetensors").write_bytes(b"x" * 70)
    (folder / "model-2.safetensors").write_bytes(b"x" * 30)
    return folder


def test_a_folder_says_its_size_its_context_and_what_a_token_takes(tmp_path: Path) -> None:
    assert read_folder(made(tmp_path)) == Folder(size_bytes=100, kv_bytes_per_token=23_040, context_tokens=8192)


@pytest.mark.parametrize(
    ("config", "kv_bytes"),
    [
        ({"head_dim": 128}, 46_080),
        ({"num_key_value_heads": None}, 69_120),
        ({"kv_lora_rank": 512}, None),
        ({"hidden_size": None}, None),
    ],
)
def test_what_a_token_takes_follows_the_attention(tmp_path: Path, config: dict[str, Any], kv_bytes: int | None) -> None:
    assert read_folder(made(tmp_path, **config)).kv_bytes_per_token == kv_bytes


def test_what_is_no_whole_folder_is_refused_with_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        read_folder(tmp_path / "absent")
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        read_folder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds no \*\.safetensors"):
        read_folder(tmp_path)
    with pytest.raises(UserError, match="is a file, and vLLM reads folders"):
        read_folder(tmp_path / "config.json")
    (tmp_path / "config.json").write_text('{"num_hidden_layers": "many"}')
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        read_folder(tmp_path)
