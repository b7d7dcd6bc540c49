"""BERT as text towers use it: post-norm blocks, optional cross-attention, published names. Knows no tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-12


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a BERT; `crossed` puts an attention to the picture's tokens into every layer."""

    vocabulary: int
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    positions: int = 512
    crossed: bool = False


class Bert(nn.Module):
    """Ids and mask [n, length] -> hidden states [n, length, width]: the embeddings, then every layer's.

    Attention is bidirectional; positions whose mask is 0 are read by nobody, yet have hidden states of their own.
    With `crossed`, `picture` [n, tokens, width] is attended to after the text; without a picture that step is skipped.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embeddings = _Embeddings(shape)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(_Layer(shape) for _ in range(shape.layers))})

    def forward(self, ids: Tensor, mask: Tensor, picture: Tensor | None = None) -> list[Tensor]:
        """Ids int64, mask bool or 0/1; every text needs at least one position that counts."""
        seen = mask.bool()[:, None, None, :]
        states = [self.embeddings(ids)]
        for layer in self.encoder["layer"]:
            states.append(layer(states[-1], seen, picture))
        return states


class _Embeddings(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(shape.vocabulary, shape.width)
        self.position_embeddings = nn.Embedding(shape.positions, shape.width)
        self.token_type_embeddings = nn.Embedding(2, shape.width)
        self.LayerNorm = nn.LayerNorm(shape.width, eps=EPSILON)

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        first_kind = self.token_type_embeddings.weight[0]
        return self.LayerNorm(self.word_embeddings(ids) + first_kind + self.position_embeddings(places))


class _Attend(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query, self.key, self.value = (nn.Linear(shape.width, shape.width) for _ in range(3))

    def forward(self, x: Tensor, source: Tensor, seen: Tensor | None) -> Tensor:
        query, key, value = self._split(self.query(x)), self._split(self.key(source)), self._split(self.value(source))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return mixed.transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class _Add(nn.Module):
    """What follows every attention and every feed-forward: a linear layer, the residual, the norm."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, out)
        self.LayerNorm = nn.LayerNorm(out, eps=EPSILON)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + residual)


class _Attention(nn.ModuleDict):
    def __init__(self, shape: Shape) -> None:
        super().__init__({"self": _Attend(shape), "output": _Add(shape.width, shape.width)})

    def forward(self, x: Tensor, source: Tensor, seen: Tensor | None) -> Tensor:
        return self["output"](self["self"](x, source, seen), x)


class _Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention = _Attention(shape)
        self.crossattention = _Attention(shape) if shape.crossed else None
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(shape.width, shape.hidden)})
        self.output = _Add(shape.hidden, shape.width)

    def forward(self, x: Tensor, seen: Tensor, picture: Tensor | None) -> Tensor:
        x = self.attention(x, x, seen)
        if self.crossattention is not None and picture is not None:
            x = self.crossattention(x, picture, None)
        return self.output(functional.gelu(self.intermediate["dense"](x)), x)
