"""The demo's two towers in torch: pictures -> vectors and words -> the same space. Knows no data and no training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS: Final = (16, 24, 48, 96, 128)
BLOCKS: Final = (0, 1, 2, 1, 1)
POOLED: Final = (2, 3, 4)
"""Stages that are pooled: the strongest answer of the finest one sees a single dot."""
POWER: Final = 4.0
"""Of the generalised mean, which lies between mean and maximum and teaches all strong places, not one."""
HIDDEN: Final = 256


class Convolution(nn.Module):
    """A 3 by 3 convolution and its normalisation, which the export makes one."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, h / stride, w / stride]."""
        return self.norm(self.convolution(x))


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = Convolution(width, width)
        self.second = Convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return functional.relu(x + self.second(functional.relu(self.first(x), inplace=True)), inplace=True)


class ImageTower(nn.Module):
    """uint8 pictures [n, height, width, 3] -> unit vectors [n, dim], float32; sides are multiples of 32."""

    def __init__(self, dim: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std) * 255, persistent=False)
        self.downs, self.blocks = nn.ModuleList(), nn.ModuleList()
        for inputs, outputs, count in zip((3, *WIDTHS), WIDTHS, BLOCKS, strict=False):
            self.downs.append(Convolution(inputs, outputs, stride=2))
            self.blocks.append(nn.Sequential(*(Residual(outputs) for _ in range(count))))
        pooled = 3 * sum(WIDTHS[stage] for stage in POOLED)
        self.even = nn.BatchNorm1d(pooled)
        self.hidden = nn.Linear(pooled, HIDDEN)
        self.out = nn.Linear(HIDDEN, dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalise, convolve, pool, project, and bring to length 1."""
        x = ((pixels.float() - self.mean) / self.std).permute(0, 3, 1, 2)
        pooled = []
        for stage, (down, blocks) in enumerate(zip(self.downs, self.blocks, strict=True)):
            x = blocks(functional.relu(down(x), inplace=True))
            if stage in POOLED:
                middle = ((x * x).square().mean((2, 3)) + 1e-6) ** (1 / POWER)
                pooled += [x.mean((2, 3)), middle, x.amax((2, 3))]
        return _unit(self.out(functional.relu(self.hidden(self.even(torch.cat(pooled, 1))))))


class Attention(nn.Module):
    """Self-attention that sees only real words."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Take x [n, words, width] and mask [n, words] with 1 for real words."""

        def split(y: Tensor) -> Tensor:
            return y.unflatten(-1, (self.heads, self.size)).transpose(1, 2)

        weights = split(self.query(x)) @ split(self.key(x)).transpose(2, 3) / math.sqrt(self.size)
        weights = weights.masked_fill(mask[:, None, None, :] == 0, -1e9).softmax(-1)
        return self.out((weights @ split(self.value(x))).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.grow, self.shrink = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """The same shape."""
        x = x + self.attention(self.before(x), mask)
        return x + self.shrink(functional.gelu(self.grow(self.between(x))))


class TextTower(nn.Module):
    """Features of words [n, words, features] (0 is none) -> unit vectors [n, dim]; padding changes nothing."""

    def __init__(self, rows: int, dim: int, *, max_words: int, width: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.features = nn.Embedding(rows, width, padding_idx=0)
        self.places = nn.Parameter(torch.randn(max_words, width) * 0.02)
        self.layers = nn.ModuleList(Layer(width, 4) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, dim)
        nn.init.normal_(self.features.weight, std=0.1)
        with torch.no_grad():
            self.features.weight[0] = 0

    def forward(self, features: Tensor) -> Tensor:
        """A word is the mean of its features; a text the mean of its words after they saw each other."""
        present = (features > 0).float()
        count = present.sum(-1)
        mask = (count > 0).float()
        x = self.features(features).sum(2) / count.clamp(min=1)[..., None].sqrt()
        x = x + self.places[: features.shape[1]]
        for layer in self.layers:
            x = layer(x, mask)
        x = (self.norm(x) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return _unit(self.out(x))


def _unit(x: Tensor) -> Tensor:
    return x / x.pow(2).sum(1, keepdim=True).sqrt().clamp(min=1e-6)
