"""ResNet-50 as torchvision names it, which timm keeps. Knows no head."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


def resnet50(channels: int = 3) -> nn.Module:
    """Normalised pictures [n, channels, h, w] -> the last feature map [n, 2048, h / 32, w / 32]; stride in the 3x3."""
    import timm

    return cast("nn.Module", timm.create_model("resnet50", in_chans=channels, num_classes=0, global_pool=""))


def pooled(features: Tensor) -> Tensor:
    """The mean over places: [n, 2048]."""
    return features.mean(dim=(2, 3))
