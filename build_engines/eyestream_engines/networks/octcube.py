"""OCTCube's transformers, of volumes and of en-face pictures, under their published names. Knows no file.

Their blocks carry the residual beside the branch, and after the last block upstream keeps the branch alone: the sum
that every other vision transformer takes is missing, in training too, so it must be missing here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Trunk:
    """What both transformers share."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    patch: int = 16


@dataclass(frozen=True, slots=True)
class Volume:
    """Sizes of a volume in B-scans and pixels; `depth` neighbouring B-scans make one patch."""

    frames: int
    height: int
    width: int
    depth: int = 3


class VolumeTransformer(nn.Module):
    """Volumes [n, 1, frames, height, width] -> the last branch's tokens [n, 1 + patches, width], class token first.

    Positions are sums of two tables, one of time and one of place, so that a table fits one size only.
    """

    def __init__(self, trunk: Trunk, volume: Volume) -> None:
        super().__init__()
        window = (volume.depth, trunk.patch, trunk.patch)
        places = (volume.height // trunk.patch) * (volume.width // trunk.patch)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(1, trunk.width, window, stride=window)})
        self.cls_token = nn.Parameter(torch.empty(1, 1, trunk.width))
        self.pos_embed_spatial = nn.Parameter(torch.empty(1, places, trunk.width))
        self.pos_embed_temporal = nn.Parameter(torch.empty(1, volume.frames // volume.depth, trunk.width))
        self.pos_embed_class = nn.Parameter(torch.empty(1, 1, trunk.width))
        self.blocks = nn.ModuleList(_Block(trunk.width, trunk.heads) for _ in range(trunk.layers))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens in the order of time, row, column."""
        patches = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        places = self.pos_embed_spatial[:, None] + self.pos_embed_temporal[:, :, None]
        first = (self.cls_token + self.pos_embed_class).expand(patches.shape[0], -1, -1)
        return through(self.blocks, torch.cat([first, patches + places.flatten(1, 2)], dim=1))


class PictureTransformer(nn.Module):
    """En-face pictures [n, 3, size, size] -> the last branch's tokens [n, 1 + patches, width], class token first."""

    def __init__(self, trunk: Trunk, size: int) -> None:
        super().__init__()
        places = (size // trunk.patch) ** 2 + 1
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, trunk.width, trunk.patch, stride=trunk.patch)})
        self.cls_token = nn.Parameter(torch.empty(1, 1, trunk.width))
        self.pos_embed = nn.Parameter(torch.empty(1, places, trunk.width))
        self.blocks = nn.ModuleList(_Block(trunk.width, trunk.heads) for _ in range(trunk.layers))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens in the order of row, column."""
        patches = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        first = self.cls_token.expand(patches.shape[0], -1, -1)
        return through(self.blocks, torch.cat([first, patches], dim=1) + self.pos_embed)


def through(blocks: nn.ModuleList, tokens: Tensor) -> Tensor:
    """The tokens through all blocks; the last block's branch, without what it branched from."""
    branch, residual = tokens, torch.zeros((), dtype=tokens.dtype, device=tokens.device)
    for block in blocks:
        branch, residual = block(branch, residual)
    return branch


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.mixer = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, branch: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        residual = residual + branch
        residual = residual + self.mixer(self.norm1(residual))
        return self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(residual)))), residual


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.Wqkv = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.Wqkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))
