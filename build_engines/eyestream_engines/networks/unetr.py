"""VisionFM's segmentation decoder: from the patches of four blocks and the picture to a number a pixel and class.

A U-Net whose left side is a vision transformer. Names are those of its authors' files. Knows no checkpoint.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import torch
from torch import Tensor, nn

CHANNELS: Final = (128, 64, 32, 16)
"""Of its four levels, coarsest first; each has twice the rows and columns of the one before."""
COLOURS: Final = 3


class Decoder(nn.Module):
    """Level by level: what came from below, doubled; beside it a shallower map of the same size; two convolutions.

    The deepest map enters at the bottom. The three others are doubled once, twice and three times on their way in, and
    the picture itself stands beside the last level. The authors' dropout does nothing when served, and is left out.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        below = width
        for level, channels in enumerate(CHANNELS, start=1):
            self.add_module(f"d{level}", _doubling(below, channels))
            self.add_module(f"s{level}", _beside(level, width, channels))
            self.add_module(f"c{level}", nn.Sequential(_block(2 * channels, channels), _block(channels, channels)))
            below = channels
        self.cls = nn.Conv2d(below, classes, kernel_size=1)

    def forward(self, maps: list[Tensor], pictures: Tensor) -> Tensor:
        """Four maps [n, width, height / 16, width / 16], shallowest first, and [n, 3, height, width] -> logits.

        [n, classes, height, width].
        """
        *shallower, x = maps
        for level, beside in enumerate((*reversed(shallower), pictures), start=1):
            doubled = self.get_submodule(f"d{level}")(x)
            x = self.get_submodule(f"c{level}")(torch.cat([doubled, self.get_submodule(f"s{level}")(beside)], dim=1))
        logits: Tensor = self.cls(x)
        return logits


def probabilities(logits: Tensor) -> Tensor:
    """Of every class at every pixel: of one class alone by itself, of several as shares of 1; [n, classes, h, w]."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


def _beside(level: int, width: int, channels: int) -> nn.Sequential:
    """The picture's way into the last level, or a map's into another: doubled and convolved, `level` times."""
    if level == len(CHANNELS):
        return nn.Sequential(_block(COLOURS, channels), _block(channels, channels))
    given = [width, *[channels] * (level - 1)]
    steps = [step for inputs in given for step in (_doubling(inputs, channels), _block(channels, channels))]
    return nn.Sequential(*steps)


def _doubling(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(OrderedDict(deconv=nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)))


def _block(inputs: int, outputs: int) -> nn.Module:
    layers = (nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())
    return nn.Sequential(OrderedDict(layers=nn.Sequential(*layers)))
