"""How large a network is and what one picture costs, found from its weights' shapes without computing anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from eyestream_engines.export import shape_of
from eyestream_engines.families import family_of
from eyestream_engines.spec import EncoderFile

_GIGA: Final = 1e9


def costs(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> tuple[int, float]:
    """Numbers in the served network, and 10^9 multiply-adds of matrix products and convolutions for one picture."""
    with torch.device("meta"):
        network = family_of(encoder).module(encoder, {name: value.to("meta") for name, value in weights.items()})
    network.to("meta")
    *frames, height, width, channels = shape_of(encoder.input)
    picture = torch.empty([1, channels, *frames, height, width], device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(picture)
    return sum(value.numel() for value in network.parameters()), counter.get_total_flops() / 2 / _GIGA
