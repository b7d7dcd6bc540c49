"""Every encoder there is, by its shapes alone: what it multiplies, and that its FP16 baseline can be asked at all."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from eyestream_engines.export import shape_of
from eyestream_engines.families import family_of
from eyestream_engines.gpu import baseline
from eyestream_engines.gpu.ceiling import flops, products
from eyestream_engines.gpu.subjects import every

SUBJECTS = {subject.encoder.name: subject.encoder for subject in every()}
POSITIONS, CLASSES = 1370, 5
"""What a published file may choose: DINOv2's table of places, and how many classes."""


def shaped(encoder):
    """The network on `meta`, of no weights at all."""
    wanted = {
        name: [size or (POSITIONS if "pos_embed" in name else CLASSES) for size in want.shape]
        for name, want in family_of(encoder).expected(encoder).items()
        if want.shape is not None and want.use != "ignored"
    }
    with torch.device("meta"):
        network = family_of(encoder).module(encoder, {name: torch.empty(shape) for name, shape in wanted.items()})
    return network.to("meta")


@pytest.mark.parametrize("name", SUBJECTS)
def test_its_products_are_all_that_torch_counts_and_its_baseline_answers_in_fp16(name):
    encoder, network = SUBJECTS[name], shaped(SUBJECTS[name])
    *frames, height, width, channels = shape_of(encoder.input)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty([2, channels, *frames, height, width], device="meta"))
    assert flops(products(network, encoder.input, 2)) == counter.get_total_flops() > 0
    half = baseline.Half(encoder, network).to("meta")
    answer = half(torch.empty([2, *frames, height, width, channels], dtype=torch.uint8, device="meta"))
    assert (tuple(answer.shape), answer.dtype) == ((2, encoder.output.dim), torch.float16)
