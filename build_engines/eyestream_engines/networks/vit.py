"""A plain vision transformer and its ways to make one vector of many tokens. Knows no checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

EPSILON: Final = 1e-6
LAST: Final = 4
"""How many blocks `last-four-classes` looks at."""

Layers = list[tuple[Tensor, Tensor]]
"""Of the last blocks, oldest first: patches [n, patches, width] and the tokens before them [n, tokens, width], raw."""


class Encoder(nn.Module):
    """Normalised pictures -> one vector each, in float32."""

    def __init__(self, backbone: VisionTransformer, pooling: str, fc_norm: nn.LayerNorm) -> None:
        super().__init__()
        self.backbone, self.pooling, self.fc_norm = backbone, pooling, fc_norm

    def forward(self, pictures: Tensor) -> Tensor:
        """[n, 3, height, width] -> [n, dim], not yet of length 1."""
        return self.pool(self.layers(pictures), self.pooling)

    def layers(self, pictures: Tensor) -> Layers:
        """What the last four blocks put out."""
        return cast(
            "Layers",
            self.backbone.forward_intermediates(
                pictures,
                indices=min(LAST, len(self.backbone.blocks)),
                return_prefix_tokens=True,
                norm=False,
                output_fmt="NLC",
                intermediates_only=True,
            ),
        )

    def pool(self, layers: Layers, pooling: str) -> Tensor:
        """One vector from the tokens; `Vit.pooling` says what each name means."""
        return POOLINGS[pooling](self, layers)


def _raw_patch_mean_norm(network: Encoder, layers: Layers) -> Tensor:
    return network.fc_norm(layers[-1][0].mean(1))


def _raw_patch_mean_and_class_layernorm(_: Encoder, layers: Layers) -> Tensor:
    patches, prefix = layers[-1]
    return _layernorm(torch.cat([patches.mean(1), prefix[:, 0]], 1))


def _last_four_classes(network: Encoder, layers: Layers) -> Tensor:
    return torch.cat([network.backbone.norm(prefix[:, 0]) for _, prefix in layers[-LAST:]], 1)


def _class(network: Encoder, layers: Layers) -> Tensor:
    return network.backbone.norm(layers[-1][1][:, 0])


def _patch_mean(network: Encoder, layers: Layers) -> Tensor:
    return network.backbone.norm(layers[-1][0]).mean(1)


def _token_mean(network: Encoder, layers: Layers) -> Tensor:
    patches, prefix = layers[-1]
    return network.backbone.norm(torch.cat([prefix, patches], 1)).mean(1)


POOLINGS: Final[dict[str, Callable[[Encoder, Layers], Tensor]]] = {
    "raw-patch-mean-norm": _raw_patch_mean_norm,
    "raw-patch-mean-and-class-layernorm": _raw_patch_mean_and_class_layernorm,
    "last-four-classes": _last_four_classes,
    "class": _class,
    "patch-mean": _patch_mean,
    "patch-mean-layernorm": lambda network, layers: _layernorm(_patch_mean(network, layers)),
    "token-mean": _token_mean,
    "class-and-patch-mean": lambda network, layers: torch.cat(
        [_class(network, layers), _patch_mean(network, layers)], 1
    ),
}


def _layernorm(x: Tensor) -> Any:
    return functional.layer_norm(x, x.shape[-1:], eps=EPSILON)
