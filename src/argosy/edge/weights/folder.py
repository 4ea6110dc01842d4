"""Folders of weights in Hugging Face's form: whether one is whole, and what its configuration says."""

from pathlib import Path

import msgspec

from argosy.base.errors import UserError

_KV_NUMBER_BYTES = 2
_WEIGHTS = ("*.safetensors", "*.bin")


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model: None is what the configuration does not say in the usual words."""

    size_bytes: int
    kv_bytes_per_token: int | None
    context_tokens: int | None


class _Config(msgspec.Struct):
    num_hidden_layers: int | None = None
    hidden_size: int | None = None
    head_dim: int | None = None
    num_attention_heads: int | None = None
    num_key_value_heads: int | None = None
    kv_lora_rank: int | None = None
    max_position_embeddings: int | None = None


def read_folder(path: Path) -> Folder:
    """Look at a folder of weights. Raises UserError."""
    if not path.is_dir():
        why = "is a file, and vLLM reads folders" if path.exists() else "there is no such folder"
        raise UserError(f"weights {path}: {why}; name a folder with config.json and *.safetensors")
    try:
        config = msgspec.json.decode((path / "config.json").read_bytes(), type=_Config)
    except (OSError, msgspec.DecodeError) as error:
        raise UserError(f"weights {path}: config.json cannot be read ({error}); copy the whole model there") from None
    size_bytes = sum(file.stat().st_size for pattern in _WEIGHTS for file in path.glob(pattern))
    if not size_bytes:
        raise UserError(f"weights {path}: holds no *.safetensors; copy the whole model there")
    return Folder(
        size_bytes=size_bytes,
        kv_bytes_per_token=_kv_bytes(config),
        context_tokens=config.max_position_embeddings,
    )


def _kv_bytes(config: _Config) -> int | None:
    """Give the bytes of keys and values of a token, where attention is the usual one."""
    layers, heads, hidden = config.num_hidden_layers, config.num_attention_heads, config.hidden_size
    if not layers or not heads or not hidden or config.kv_lora_rank:
        return None
    head = config.head_dim or hidden // heads
    return 2 * layers * (config.num_key_value_heads or heads) * head * _KV_NUMBER_BYTES
