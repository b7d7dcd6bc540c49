"""The two transformers of OpenAI's CLIP, under the names their weights have. Knows no tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Vision:
    """Sizes of the picture's side; `dim` is the length of what it gives."""

    size: int
    patch: int
    width: int
    layers: int
    heads: int
    dim: int


@dataclass(frozen=True, slots=True)
class Text:
    """Sizes of the text's side."""

    vocabulary: int
    context: int
    width: int
    layers: int
    heads: int
    dim: int


class QuickGelu(nn.Module):
    """x·σ(1.702 x): CLIP's own approximation, whose difference from GELU reaches 0.02."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return x * torch.sigmoid(1.702 * x)


class VisionTransformer(nn.Module):
    """Normalised pictures [n, 3, size, size] -> the class token, normed and projected: [n, dim], of any length."""

    def __init__(self, shape: Vision) -> None:
        super().__init__()
        places = (shape.size // shape.patch) ** 2 + 1
        self.conv1 = nn.Conv2d(3, shape.width, shape.patch, stride=shape.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(shape.width))
        self.positional_embedding = nn.Parameter(torch.empty(places, shape.width))
        self.ln_pre = nn.LayerNorm(shape.width)
        self.transformer = _Transformer(shape.width, shape.layers, shape.heads)
        self.ln_post = nn.LayerNorm(shape.width)
        self.proj = nn.Parameter(torch.empty(shape.width, shape.dim))

    def class_token(self, x: Tensor) -> Tensor:
        """The class token after the last norm, [n, width]: what these models' authors probe linearly."""
        patches = self.conv1(x).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(patches.shape[0], 1, -1)
        tokens = torch.cat([first, patches], dim=1) + self.positional_embedding
        tokens = self.transformer(self.ln_pre(tokens), causal=False)
        return self.ln_post(tokens[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        """The projected class token."""
        return self.class_token(x) @ self.proj


class TextTransformer(nn.Module):
    """Ids [n, context] -> the end token's vector, projected: [n, dim]. The end token is the largest id."""

    def __init__(self, shape: Text) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.positional_embedding = nn.Parameter(torch.empty(shape.context, shape.width))
        self.transformer = _Transformer(shape.width, shape.layers, shape.heads)
        self.ln_final = nn.LayerNorm(shape.width)
        self.text_projection = nn.Parameter(torch.empty(shape.width, shape.dim))

    def forward(self, ids: Tensor) -> Tensor:
        """Each text's end token; what follows it is never looked at."""
        tokens = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        tokens = self.ln_final(self.transformer(tokens, causal=True))
        ends = tokens[torch.arange(ids.shape[0], device=ids.device), ids.argmax(dim=1)]
        return ends @ self.text_projection


class _Transformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, *, causal: bool) -> Tensor:
        for block in self.resblocks:
            x = block(x, causal=causal)
        return x


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = _Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, 4 * width), "gelu": QuickGelu(), "c_proj": nn.Linear(4 * width, width)}
        )

    def forward(self, x: Tensor, *, causal: bool) -> Tensor:
        x = x + self.attn(self.ln_1(x), causal=causal)
        return x + self.mlp["c_proj"](self.mlp["gelu"](self.mlp["c_fc"](self.ln_2(x))))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, *, causal: bool) -> Tensor:
        parts = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = parts.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))
