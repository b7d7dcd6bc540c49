"""VisionFM's segmentation decoder against its original, and the faults that the gates must refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from eyestream.errors import Misconfigured
from eyestream_engines import checkpoints, gates, proving
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.families import family_of, visionfm_decoder, vit
from eyestream_engines.heads import published
from eyestream_engines.networks import unetr

SMALL = "visionfm_segmentation_toy"
FULL = "visionfm-fundus-segmentation"


@pytest.fixture(scope="module")
def case():
    return Case.open(PARITY / SMALL)


@pytest.fixture(scope="module")
def encoder(case):
    (found,) = case.encoders
    return found


@pytest.fixture(scope="module")
def weights(encoder, case):
    return checkpoints.select(encoder, case.file())


@pytest.fixture
def worst(encoder, weights, case):
    """How far the furthest of the original's arrays is, as a reading; with weights of one's own where given."""

    def read(given=None):
        readings = gates.original(visionfm_decoder.arrays(encoder, given or weights, case), case, encoder)
        assert {reading.gate.removeprefix("original ") for reading in readings} == case.expected().keys()
        return max(readings, key=lambda reading: reading.absolute)

    return read


def refused(reading):
    with pytest.raises(Misconfigured, match="not published"):
        gates.require(reading)


def test_torch_says_what_the_original_says_at_a_small_size(worst):
    gates.require(worst())
    assert worst().absolute < 5e-6


def test_torch_says_what_the_original_says_of_a_picture_at_full_size(encoder_of, weights_of):
    encoder = encoder_of(FULL)
    opened = Case.open(PARITY / encoder.parity)

    class OnePicture(Case):
        def pictures(self):
            return super().pictures()[:1]

        def expected(self):
            return {name: rows[:1] for name, rows in super().expected().items()}

    one = OnePicture(opened.folder, opened.seed, opened.facts)
    readings = gates.original(family_of(encoder).arrays(encoder, weights_of(FULL), one), one, encoder)
    assert len(readings) == len(opened.expected())
    for reading in readings:
        assert reading.passed, reading.told()


@pytest.mark.parametrize("fault", [{}, {"interpolation": "bicubic"}, {"antialias": False}, {"shape": "pad-square"}])
def test_our_preparation_is_theirs_and_another_is_refused(fault, encoder_of):
    encoder = encoder_of(FULL)
    changed = encoder.preprocessing.model_copy(update=fault)
    reading = gates.preprocessing(
        encoder.model_copy(update={"preprocessing": changed}), Case.open(PARITY / encoder.parity)
    )
    assert reading is not None
    assert reading.passed == (not fault), reading.told()


def forget_positions(given):
    given["pos_embed"] = torch.zeros_like(given["pos_embed"])


def swap_two_blocks(given):
    for name in [name for name in given if name.startswith("blocks.3.")]:
        other = name.replace("blocks.3.", "blocks.4.")
        given[name], given[other] = given[other], given[name]


def swap_two_convolutions(given):
    for name in [name for name in given if name.startswith("decoder.c3.0.layers.1.")]:
        other = name.replace("c3.0.", "c3.1.")
        given[name], given[other] = given[other], given[name]


def mirror_the_doubling(given):
    given["decoder.d4.deconv.weight"] = given["decoder.d4.deconv.weight"].flip(2, 3)


@pytest.mark.parametrize("fault", [forget_positions, swap_two_blocks, swap_two_convolutions, mirror_the_doubling])
def test_weights_with_a_fault_are_refused(fault, weights, worst):
    given = dict(weights)
    fault(given)
    refused(worst(given))


@pytest.mark.parametrize(
    "how",
    [
        {"mode": "bilinear", "align_corners": False},
        {"mode": "bicubic", "align_corners": True},
        {"mode": "nearest"},
    ],
)
def test_positions_resampled_otherwise_are_refused(how, encoder, weights, worst):
    table = weights["pos_embed"]
    grid = functional.interpolate(table[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2), size=(6, 6), **how)
    given = dict(weights)
    given["pos_embed"] = torch.cat([table[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)
    ready = encoder.architecture.model_copy(update={"position_grids": (6,)})
    resampled = encoder.model_copy(update={"architecture": ready})
    case = Case.open(PARITY / SMALL)
    found = gates.original(visionfm_decoder.arrays(resampled, given, case), case, encoder)
    refused(max(found, key=lambda reading: reading.absolute))


def levels_turned(monkeypatch):
    forward = unetr.Decoder.forward
    monkeypatch.setattr(
        unetr.Decoder, "forward", lambda self, maps, x: forward(self, [*reversed(maps[:-1]), maps[-1]], x)
    )


def deepest_exchanged(monkeypatch):
    forward = unetr.Decoder.forward
    monkeypatch.setattr(unetr.Decoder, "forward", lambda self, maps, x: forward(self, [*maps[:2], maps[3], maps[2]], x))


def last_four_blocks(monkeypatch):
    monkeypatch.setitem(visionfm_decoder._BLOCKS, 12, (8, 9, 10, 11))  # noqa: SLF001 - the fault is made there


def counted_from_one(monkeypatch):
    monkeypatch.setitem(visionfm_decoder._BLOCKS, 12, (2, 4, 6, 10))  # noqa: SLF001


def maps_without_their_norm(monkeypatch):
    def raw(self, pictures):
        return self.backbone.forward_intermediates(
            pictures, indices=list(self.blocks), norm=False, output_fmt="NCHW", intermediates_only=True
        )

    monkeypatch.setattr(visionfm_decoder.Segmentation, "maps", raw)


def skip_before_what_came_from_below(monkeypatch):
    cat = torch.cat
    turned = type("Torch", (), {"cat": staticmethod(lambda parts, dim: cat(parts[::-1], dim=dim))})
    monkeypatch.setattr(unetr, "torch", turned)


def picture_left_out(monkeypatch):
    forward = unetr.Decoder.forward
    monkeypatch.setattr(unetr.Decoder, "forward", lambda self, maps, x: forward(self, maps, torch.zeros_like(x)))


def without_batch_norm(monkeypatch):
    monkeypatch.setattr(nn.BatchNorm2d, "forward", lambda _self, x: x)


def statistics_of_the_batch(monkeypatch):
    monkeypatch.setattr(
        nn.BatchNorm2d,
        "forward",
        lambda self, x: functional.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps),
    )


def another_epsilon(monkeypatch):
    forward = nn.BatchNorm2d.forward

    def changed(self, x):
        self.eps = 1e-3
        return forward(self, x)

    monkeypatch.setattr(nn.BatchNorm2d, "forward", changed)


def gelu_for_relu(monkeypatch):
    monkeypatch.setattr(nn.ReLU, "forward", lambda _self, x: functional.gelu(x))


def each_class_by_itself(monkeypatch):
    monkeypatch.setattr(visionfm_decoder, "probabilities", torch.sigmoid)


def shares_over_rows(monkeypatch):
    monkeypatch.setattr(visionfm_decoder, "probabilities", lambda logits: logits.softmax(dim=2))


def doubled_by_interpolation(monkeypatch):
    def forward(self, x, output_size=None):
        mixed = torch.einsum("nchw,co->nohw", x, self.weight.mean((2, 3))) + self.bias[:, None, None]
        return functional.interpolate(mixed, scale_factor=2, mode="bilinear", align_corners=False)

    monkeypatch.setattr(nn.ConvTranspose2d, "forward", forward)


@pytest.mark.parametrize(
    "fault",
    [
        levels_turned,
        deepest_exchanged,
        last_four_blocks,
        counted_from_one,
        maps_without_their_norm,
        skip_before_what_came_from_below,
        picture_left_out,
        without_batch_norm,
        statistics_of_the_batch,
        another_epsilon,
        gelu_for_relu,
        each_class_by_itself,
        shares_over_rows,
        doubled_by_interpolation,
    ],
)
def test_a_network_with_a_fault_is_refused(fault, worst, monkeypatch):
    fault(monkeypatch)
    refused(worst())


@pytest.mark.parametrize("fault", ["none", "bgr", "not normalised", "turned"])
def test_a_front_or_a_mask_with_a_fault_is_refused(fault, encoder, weights):
    from eyestream_engines.export import Engine

    network = visionfm_decoder.module(encoder, weights)
    pixels = gates.pictures(encoder.input, 2)
    engine = Engine(encoder, network)
    if fault == "not normalised":
        engine.front.mean, engine.front.std = torch.zeros(3), torch.full((3,), 255.0)
    with torch.inference_mode():
        got = engine(torch.from_numpy(pixels[..., ::-1].copy() if fault == "bgr" else pixels)).numpy()
    if fault == "turned":  # rows for columns
        got = np.ascontiguousarray(got.reshape(2, 4, 96, 96).swapaxes(2, 3)).reshape(2, -1)
    reading = gates.graph(proving.reference(encoder, network, pixels), got, encoder)
    assert reading.passed == (fault == "none"), reading.told()


def test_several_classes_share_a_pixel_and_one_class_stands_alone():
    logits = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(unetr.probabilities(logits).sum(1), torch.ones(2, 5, 4))
    alone = unetr.probabilities(logits[:, :1])
    assert torch.allclose(alone, 1 / (1 + torch.exp(-logits[:, :1])))


def test_a_decoder_as_steep_as_a_trained_one_keeps_the_bounds_in_fp16(encoder, weights, tmp_path):
    """Masks of random weights are nearly flat, and hide what FP16 does at an edge."""
    pixels = gates.pictures(encoder.input)
    flat = visionfm_decoder.module(encoder, weights)
    with torch.inference_mode():
        logits = flat.logits(torch.from_numpy(gates.normalised(pixels, encoder.input)))
    factor = 10 / logits.std((2, 3)).mean()
    middle = weights["decoder.cls.bias"] - logits.mean((0, 2, 3))
    last = {"decoder.cls.weight": weights["decoder.cls.weight"] * factor, "decoder.cls.bias": middle * factor}
    steep = visionfm_decoder.module(encoder, weights | last)
    expected = proving.reference(encoder, steep, pixels)
    assert (expected > 0.9).mean() > 0.15
    readings = proving.graphs(
        encoder, steep, work=tmp_path / "work", pixels=pixels, expected=expected, told=lambda _step, _share: None
    )
    assert readings[-1].absolute > 0.03
    assert all(reading.passed for reading in readings)


def test_nothing_scores_a_mask(encoder, weights):
    with pytest.raises(Misconfigured, match="no ScoreHead reads"):
        published.head(encoder, weights, "0" * 64)


def test_a_description_whose_sizes_contradict_each_other_is_refused(encoder):
    wrong = encoder.model_copy(update={"output": encoder.output.model_copy(update={"dim": 9216})})
    with pytest.raises(Misconfigured, match=r"4 classes of 96 by 96 pixels are 36864 numbers, and output\.dim is 9216"):
        family_of(wrong).expected(wrong)


def test_the_encoder_inside_is_the_plain_transformer(encoder):
    """So that whatever is proven of those holds of it too."""
    alone = visionfm_decoder._alone(encoder)  # noqa: SLF001 - the seam between two families
    assert vit.expected(alone).items() <= visionfm_decoder.expected(encoder).items()
