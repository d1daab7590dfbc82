"""A small transformer of the Llama architecture: RMSNorm, rotary positions, SwiGLU, tied embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  (as everyone calls it)  # noqa: N812  (as everyone calls it)
from torch import Tensor, nn

from .charset import FIRST, TOKENS


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model."""

    width: int = 192
    layers: int = 6
    heads: int = 3
    inner: int = 512
    context: int = 1024
    vocabulary: int = len(TOKENS)
    rotary_base: float = 10_000.0
    epsilon: float = 1e-5

    @property
    def head(self) -> int:
        return self.width // self.heads


class Block(nn.Module):
    """Attention and feed-forward, each after its norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.before_attention = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.key = nn.Linear(shape.width, shape.width, bias=False)
        self.value = nn.Linear(shape.width, shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.before_feed = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.gate = nn.Linear(shape.width, shape.inner, bias=False)
        self.up = nn.Linear(shape.width, shape.inner, bias=False)
        self.down = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, hidden: Tensor, cosine: Tensor, sine: Tensor, hidden_from: Tensor) -> Tensor:
        """Map (batch, time, width) to the same; *cosine* and *sine* are (time, head / 2).

        *hidden_from* (batch, 1, time, time) is added to the scores: minus infinity where a token may not look.
        """
        batch, time, width = hidden.shape

        def split(into: Tensor) -> Tensor:
            return into.view(batch, time, self.heads, width // self.heads).transpose(1, 2)

        normed = self.before_attention(hidden)
        query = rotate(split(self.query(normed)), cosine, sine)
        key = rotate(split(self.key(normed)), cosine, sine)
        mixed = F.scaled_dot_product_attention(query, key, split(self.value(normed)), attn_mask=hidden_from)
        hidden = hidden + self.out(mixed.transpose(1, 2).reshape(batch, time, width))
        normed = self.before_feed(hidden)
        fed: Tensor = self.down(F.silu(self.gate(normed)) * self.up(normed))
        return hidden + fed


class Tiny(nn.Module):
    """The whole model: ids (batch, time) to logits (batch, time, vocabulary)."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        frequency = shape.rotary_base ** (-torch.arange(0, shape.head, 2) / shape.head)
        angle = torch.arange(shape.context)[:, None] * frequency
        self.register_buffer("cosine", angle.cos(), persistent=False)
        self.register_buffer("sine", angle.sin(), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                closing = name.endswith(("out.weight", "down.weight"))
                spread = 0.02 if "embedding" in name else parameter.shape[1] ** -0.5
                nn.init.normal_(parameter, std=spread / ((2 * shape.layers) ** 0.5 if closing else 1))

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.embedding(ids)
        time = ids.shape[1]
        cosine, sine = self.cosine[:time].to(hidden.dtype), self.sine[:time].to(hidden.dtype)
        hidden_from = outside(ids).to(torch.get_autocast_dtype(ids.device.type))
        for block in self.blocks:
            hidden = block(hidden, cosine, sine, hidden_from)
        return F.linear(self.norm(hidden), self.embedding.weight)


def outside(ids: Tensor) -> Tensor:
    time, number = ids.shape[1], (ids == FIRST).cumsum(1)
    same = number[:, None, :, None] == number[:, None, None, :]
    seen = same & torch.ones(time, time, dtype=torch.bool, device=ids.device).tril()
    return torch.zeros(seen.shape, device=ids.device).masked_fill(~seen, -torch.inf)


def rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    even, odd = heads[..., 0::2], heads[..., 1::2]
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1).flatten(-2)
