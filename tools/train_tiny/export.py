"""The weights as a GGUF file that an unmodified llama.cpp loads, tokens and chat template included."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import gguf
import numpy as np
from torch import Tensor

from .charset import BEGIN, CHARACTERS, CHAT_TEMPLATE, CONTROL, END, MARKERS, TOKENS, UNKNOWN
from .model import Tiny

Precision: TypeAlias = Literal["q8_0", "f16"]

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""The space in a SentencePiece vocabulary."""

_NAMES = {
    "before_attention": "attn_norm",
    "query": "attn_q",
    "key": "attn_k",
    "value": "attn_v",
    "out": "attn_output",
    "before_feed": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
_QUANTS = {"q8_0": gguf.GGMLQuantizationType.Q8_0, "f16": gguf.GGMLQuantizationType.F16}
_FILES = {"q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "f16": gguf.LlamaFileType.MOSTLY_F16}


def export(model: Tiny, path: Path, *, name: str, precision: Precision) -> None:
    shape = model.shape
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_file_type(_FILES[precision])
    writer.add_license("MIT")
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(shape.rotary_base)
    _add_tokens(writer)
    _add(writer, "token_embd.weight", model.embedding.weight, precision)
    for at, block in enumerate(model.blocks):
        for parameter, value in block.named_parameters():
            _add(writer, f"blk.{at}.{_NAMES[parameter.removesuffix('.weight')]}.weight", value, precision)
    _add(writer, "output_norm.weight", model.norm.weight, precision)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokens(writer: gguf.GGUFWriter) -> None:
    kinds = gguf.TokenType
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token.replace(" ", _SPACE) for token in TOKENS])
    # No token is merged from others, so the scores have no effect.
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types(
        [
            kinds.UNKNOWN
            if token == UNKNOWN
            else kinds.CONTROL
            if token in CONTROL
            else kinds.USER_DEFINED
            if token in MARKERS
            else kinds.NORMAL
            if token in CHARACTERS
            else kinds.BYTE
            for token in TOKENS
        ]
    )
    writer.add_unk_token_id(TOKENS.index(UNKNOWN))
    writer.add_bos_token_id(TOKENS.index(BEGIN))
    writer.add_eos_token_id(TOKENS.index(END))
    writer.add_pad_token_id(TOKENS.index(UNKNOWN))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _add(writer: gguf.GGUFWriter, name: str, value: Tensor, precision: Precision) -> None:
    data = value.detach().float().cpu().numpy()
    if data.ndim == 1:
        writer.add_tensor(name, data)
        return
    kind = _QUANTS[precision]
    packed = gguf.quants.quantize(data, kind)
    writer.add_tensor(name, np.ascontiguousarray(packed), raw_dtype=kind)
