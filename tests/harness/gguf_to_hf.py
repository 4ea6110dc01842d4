"""Writes the model of a GGUF file of the llama architecture as Hugging Face keeps it: `gguf_to_hf.py FILE FOLDER`.

It runs in the environment of `vllm_environment`, which has what it imports. The weights become bfloat16. Source of the
names, and of the order of the rows of queries and keys: llama.cpp, `convert_hf_to_gguf.py` (LlamaModel).
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader
from gguf.constants import TokenType
from gguf.quants import dequantize
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYERS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class Model:
    """A GGUF file that is read."""

    def __init__(self, path: Path) -> None:
        self._reader = GGUFReader(path)
        self.heads = int(self.llama("attention.head_count"))
        self.kv_heads = int(self.llama("attention.head_count_kv"))
        self.tokens: list[str] = self.field("tokenizer.ggml.tokens")

    def field(self, name: str) -> Any:
        return self._reader.fields[name].contents()

    def llama(self, name: str) -> Any:
        return self.field(f"llama.{name}")

    def special(self, name: str) -> int:
        return int(self.field(f"tokenizer.ggml.{name}_token_id"))

    def weights(self) -> dict[str, torch.Tensor]:
        return dict(self._weight(tensor) for tensor in self._reader.tensors)

    def _weight(self, tensor: Any) -> tuple[str, torch.Tensor]:
        values = dequantize(tensor.data, tensor.tensor_type)
        match tensor.name.removesuffix(".weight").split("."):
            case "blk", layer, part:
                name = f"model.layers.{layer}.{LAYERS[part]}"
                if part in {"attn_q", "attn_k"}:
                    values = _unpermuted(values, self.heads if part == "attn_q" else self.kv_heads)
            case (part,):
                name = WHOLE[part]
        return f"{name}.weight", torch.tensor(np.ascontiguousarray(values), dtype=torch.bfloat16)

    def tokenizer(self) -> Tokenizer:
        merges = [tuple(merge.split(" ")) for merge in self.field("tokenizer.ggml.merges")]
        made = Tokenizer(BPE(vocab={token: number for number, token in enumerate(self.tokens)}, merges=merges))
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        made.decoder = decoders.ByteLevel()
        kinds = self.field("tokenizer.ggml.token_type")
        special = {TokenType.CONTROL, TokenType.USER_DEFINED}
        made.add_special_tokens(
            [
                AddedToken(token, special=True, normalized=False)
                for token, kind in zip(self.tokens, kinds, strict=True)
                if kind in special
            ]
        )
        return made

    def config(self, *, tied: bool) -> dict[str, Any]:
        hidden = int(self.llama("embedding_length"))
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": hidden,
            "intermediate_size": int(self.llama("feed_forward_length")),
            "num_hidden_layers": int(self.llama("block_count")),
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": hidden // self.heads,
            "max_position_embeddings": int(self.llama("context_length")),
            "rms_norm_eps": float(self.llama("attention.layer_norm_rms_epsilon")),
            "rope_theta": float(self.llama("rope.freq_base")),
            "vocab_size": len(self.tokens),
            "tie_word_embeddings": tied,
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            "bos_token_id": self.special("bos"),
            "eos_token_id": self.special("eos"),
            "torch_dtype": "bfloat16",
        }

    def tokenizer_config(self) -> dict[str, Any]:
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": self.tokens[self.special("bos")],
            "eos_token": self.tokens[self.special("eos")],
            "chat_template": self.field("tokenizer.chat_template"),
            "model_max_length": int(self.llama("context_length")),
        }


def _unpermuted(values: Any, heads: int) -> Any:
    """Give the rows of queries or keys in the order that rotary embeddings of transformers want."""
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def main(path: Path, folder: Path) -> None:
    """Read the file and write the folder."""
    folder.mkdir(parents=True)
    model = Model(path)
    weights = model.weights()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model.tokenizer().save(str(folder / "tokenizer.json"))
    config = model.config(tied="lm_head.weight" not in weights)
    generation = {name: config[name] for name in ("bos_token_id", "eos_token_id")}
    for name, content in {
        "config": config,
        "generation_config": generation,
        "tokenizer_config": model.tokenizer_config(),
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
