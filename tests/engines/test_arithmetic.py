"""What the planner believes of the encoders' arithmetic, counted."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from eyestream.planning.costs import work
from eyestream_engines.families import family_of
from eyestream_engines.spec import EncoderFile


@pytest.mark.parametrize(
    "name", ["eyeclip", "flair", "ret-clip", "retfound-dinov2", "retfound-green", "visionfm-fundus"]
)
def test_the_planner_knows_how_much_an_encoder_computes(name):
    encoder = EncoderFile.load(name)
    family = family_of(encoder)
    with torch.device("meta"), torch.inference_mode():
        weights = {
            key: torch.empty([8 if side is None else side for side in expected.shape or ()])
            for key, expected in family.expected(encoder).items()
        }
        network = family.module(encoder, weights)
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, encoder.input.height, encoder.input.width))
    assert counter.get_total_flops() / 1e9 == pytest.approx(work().gflop[name], rel=0.01)
