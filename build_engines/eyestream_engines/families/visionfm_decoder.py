"""VisionFM's encoder with a segmentation decoder behind it: pictures to masks. Knows formats, not files.

The encoder is a plain vision transformer, made by the family of those; only the decoder is code of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from eyestream.errors import Misconfigured
from eyestream_engines.architectures import VisionFmDecoder, Vit
from eyestream_engines.cases import Case
from eyestream_engines.families import Arrays, Expected, vit
from eyestream_engines.networks.unetr import Decoder, probabilities
from eyestream_engines.networks.weights import asks, empty, filled
from eyestream_engines.spec import EncoderFile

DECODER: Final = "decoder."
_BLOCKS: Final = {12: (3, 5, 7, 11), 24: (5, 11, 17, 23)}
"""Which blocks' patches are decoded, counted from 0, by the depth of the encoder."""
_STRIDE: Final = 7
"""Between the rows, and the columns, that parity cases keep of a map; prime to every size that a level doubles."""


def expected(encoder: EncoderFile) -> Mapping[str, Expected]:
    """The encoder's keys, and the decoder's; raises Misconfigured when the description's sizes contradict it."""
    facts, size = _facts(encoder), encoder.input
    if encoder.output.dim != (numbers := facts.classes * size.height * size.width):
        raise Misconfigured(
            f"{encoder.name}: {facts.classes} classes of {size.height} by {size.width} pixels are {numbers} numbers, "
            f"and output.dim is {encoder.output.dim}"
        )
    return dict(vit.expected(_alone(encoder))) | asks(empty(lambda: Decoder(facts.width, facts.classes)), DECODER)


def module(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> Segmentation:
    """Pictures -> masks [n, classes x height x width], row by row, one class after the other."""
    return Segmentation(encoder, weights)


class Segmentation(nn.Module):
    """Four blocks' patches, each after the last LayerNorm, decoded beside the picture."""

    def __init__(self, encoder: EncoderFile, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        facts = _facts(encoder)
        self.backbone: VisionTransformer = vit.network_of(_alone(encoder), weights).backbone
        self.blocks = _BLOCKS[facts.depth]
        self.decoder = filled(empty(lambda: Decoder(facts.width, facts.classes)), weights, DECODER)
        self.eval().requires_grad_(requires_grad=False)

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """[n, 3, height, width] -> the blocks' patches, shallowest first, [n, width, rows, columns] each."""
        found = self.backbone.forward_intermediates(
            pictures, indices=list(self.blocks), norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return cast("list[Tensor]", found)

    def logits(self, pictures: Tensor) -> Tensor:
        """[n, 3, height, width] -> [n, classes, height, width]."""
        found: Tensor = self.decoder(self.maps(pictures), pictures)
        return found

    def forward(self, pictures: Tensor) -> Tensor:
        """[n, 3, height, width] -> [n, classes x height x width], probabilities."""
        return probabilities(self.logits(pictures)).flatten(1)


def arrays(encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> Arrays:
    """Means of the four maps, and of logits and masks every seventh row and column, and each class's share."""
    network = module(encoder, weights)
    found: dict[str, list[Tensor]] = {"levels": [], "logits": [], "mask": [], "share": []}
    with torch.inference_mode():
        for picture in torch.from_numpy(case.pictures()).split(1):
            maps = network.maps(picture)
            logits = network.decoder(maps, picture)
            mask = probabilities(logits)
            found["levels"].append(torch.stack([one.mean((2, 3)) for one in maps], 1))
            found["logits"].append(logits[:, :, ::_STRIDE, ::_STRIDE])
            found["mask"].append(mask[:, :, ::_STRIDE, ::_STRIDE])
            found["share"].append(mask.mean((2, 3)))
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def _alone(encoder: EncoderFile) -> EncoderFile:
    """The encoder without its decoder, described as the plain vision transformer that it is."""
    facts = _facts(encoder)
    sizes = facts.model_dump(include={"width", "depth", "heads", "patch", "position_grids"})
    return encoder.model_copy(update={"architecture": Vit(family="vit", pooling="class", **sizes)})


def _facts(encoder: EncoderFile) -> VisionFmDecoder:
    assert isinstance(encoder.architecture, VisionFmDecoder)
    return encoder.architecture
