"""Converts the tiny model from GGUF to a folder that vLLM loads: ``python convert.py tiny.gguf FOLDER``.

It runs in the environment of vLLM (packages gguf, numpy, safetensors, tokenizers), not in that of interwhen.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, processors

_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


def fields_of(reader: gguf.GGUFReader) -> dict[str, Any]:
    return {key: field.contents() for key, field in reader.fields.items()}


def tensor_name(name: str) -> str:
    if name in _TOP:
        return _TOP[name]
    _, block, part, kind = name.split(".")
    return f"model.layers.{block}.{_NAMES[part]}.{kind}"


def unpermute(weight: np.ndarray, heads: int) -> np.ndarray:
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_weights(reader: gguf.GGUFReader, heads: int, folder: Path) -> None:
    weights = {}
    for tensor in reader.tensors:
        value = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if ".attn_q." in tensor.name or ".attn_k." in tensor.name:
            value = unpermute(value, heads)
        weights[tensor_name(tensor.name)] = np.ascontiguousarray(value)
    file = folder / "model.safetensors"
    save_file(weights, file, metadata={"format": "pt"})
    file.chmod(0o644)  # safetensors writes for its owner alone; the server runs as another user


def write_config(fields: dict[str, Any], folder: Path) -> None:
    ends = {
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
    }
    heads = fields["llama.attention.head_count"]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "hidden_act": "silu",
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": fields["llama.rope.dimension_count"],
        "rms_norm_eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": fields["llama.rope.freq_base"],
        "max_position_embeddings": fields["llama.context_length"],
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        **ends,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "generation_config.json").write_text(json.dumps(ends))


def write_tokenizer(fields: dict[str, Any], folder: Path) -> None:
    tokens = [token.replace(_SPACE, " ") for token in fields["tokenizer.ggml.tokens"]]
    kinds = [gguf.TokenType(kind) for kind in fields["tokenizer.ggml.token_type"]]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    unknown, begin = tokens[fields["tokenizer.ggml.unknown_token_id"]], tokens[fields["tokenizer.ggml.bos_token_id"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=unknown, byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A $B", special_tokens=[(begin, vocabulary[begin])]
    )
    special = (gguf.TokenType.CONTROL, gguf.TokenType.UNKNOWN)
    tokenizer.add_special_tokens(
        [
            AddedToken(token, normalized=False, special=True)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind in special
        ]
    )
    tokenizer.add_tokens(
        [
            AddedToken(token, normalized=False, special=False)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind == gguf.TokenType.USER_DEFINED
        ]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": begin,
        "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]],
        "unk_token": unknown,
        "pad_token": unknown,
        "clean_up_tokenization_spaces": False,
        "model_max_length": fields["llama.context_length"],
        "chat_template": fields["tokenizer.chat_template"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))


def convert(weights: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    reader = gguf.GGUFReader(weights)
    fields = fields_of(reader)
    write_weights(reader, fields["llama.attention.head_count"], folder)
    write_config(fields, folder)
    write_tokenizer(fields, folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
