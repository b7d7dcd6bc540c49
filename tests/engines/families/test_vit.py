"""Plain vision transformers against the originals, and the faults that the gates must refuse."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from torch import nn

from eyestream.errors import Misconfigured
from eyestream_engines import checkpoints, gates
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.export import Engine
from eyestream_engines.families import vit
from eyestream_engines.networks.vit import POOLINGS
from eyestream_engines.spec import EncoderFile


class OnePicture(Case):
    """A case cut down to its first picture."""

    def pictures(self):
        return super().pictures()[:1]

    def expected(self):
        return {name: rows[:1] for name, rows in super().expected().items()}


@functools.cache
def case_of(name):
    encoder = EncoderFile.load(name)
    opened = Case.open(PARITY / encoder.parity)
    return encoder, OnePicture(**{field.name: getattr(opened, field.name) for field in dataclasses.fields(opened)})


@functools.cache
def weights_of(name):
    encoder, case = case_of(name)
    return checkpoints.select(encoder, case.file())


@pytest.mark.parametrize(
    "name",
    [
        "retfound-green",
        "visionfm-fundus",
        "visionfm-fundus-classifier",
        "dinoret",
        "bedinoret",
        "loradinoret",
        "urfound",
    ],
)
def test_torch_says_what_the_original_says(name):
    encoder, case = case_of(name)
    weights = checkpoints.select(encoder, case.file())
    readings = gates.original(vit.arrays(encoder, weights, case), case, encoder)
    assert {reading.gate.removeprefix("original ") for reading in readings} == case.expected().keys()
    for reading in readings:
        assert reading.passed, reading.told()


def forget_positions(network, weights):
    weights["pos_embed"] = torch.zeros_like(weights["pos_embed"])


def swap_two_blocks(network, weights):
    for name in [name for name in weights if name.startswith("blocks.3.")]:
        other = name.replace("blocks.3.", "blocks.4.")
        weights[name], weights[other] = weights[other], weights[name]


def approximate_gelu(network, weights):
    for block in network.backbone.blocks:
        block.mlp.act = nn.GELU(approximate="tanh")


def another_epsilon(network, weights):
    for layer in network.backbone.modules():
        if isinstance(layer, nn.LayerNorm):
            layer.eps = 1e-5


def pool_the_class_token_too(network, weights):
    network.pooling = "raw-mean-of-all"


def use_the_files_norm(network, weights):
    network.pooling = "patch-mean"


@pytest.mark.parametrize(
    "fault",
    [
        forget_positions,
        swap_two_blocks,
        approximate_gelu,
        another_epsilon,
        pool_the_class_token_too,
        use_the_files_norm,
    ],
)
def test_a_network_with_a_fault_is_refused(fault, monkeypatch):
    encoder, case = case_of("urfound")
    weights = dict(weights_of("urfound"))
    network = vit.network_of(encoder, weights)
    monkeypatch.setitem(POOLINGS, "raw-mean-of-all", _mean_of_all)
    fault(network, weights)
    if fault in {forget_positions, swap_two_blocks}:
        network = vit.network_of(encoder, weights)
    with torch.inference_mode():
        got = {"embedding": network(torch.from_numpy(case.pictures())).numpy()}
    (reading,) = gates.original(got, case, encoder)
    with pytest.raises(Misconfigured, match="not published"):
        gates.require(reading)


@pytest.mark.parametrize("fault", ["none", "bgr", "not normalised", "mean of another encoder"])
def test_a_front_with_a_fault_is_refused(fault):
    encoder, _ = case_of("urfound")
    network = vit.network_of(encoder, weights_of("urfound"))
    pixels = gates.pictures(encoder.input, 2)[:2]
    engine = Engine(encoder, network)
    if fault == "not normalised":
        engine.front.mean, engine.front.std = torch.zeros(3), torch.full((3,), 255.0)
    if fault == "mean of another encoder":
        engine.front.mean = engine.front.mean + 1.0
    with torch.inference_mode():
        given = torch.from_numpy(pixels[..., ::-1].copy() if fault == "bgr" else pixels)
        got = engine(given).numpy()
        expected = gates.unit(network(torch.from_numpy(gates.normalised(pixels, encoder.input))).numpy())
    reading = gates.graph(expected, got, encoder)
    assert reading.passed == (fault == "none"), reading.told()


@pytest.mark.parametrize(
    "fault",
    [
        {"interpolation": "bilinear"},
        {"antialias": False},
        {"shape": "squash", "crop_ratio": 1.0},
        {"crop_ratio": 1.0},
        {"colour": "grey"},
    ],
)
def test_another_preparation_than_the_authors_is_refused(fault):
    encoder, case = case_of("urfound")
    assert gates.preprocessing(encoder, case).passed
    told = type(encoder.preprocessing).model_validate(encoder.preprocessing.model_dump() | fault)
    assert not gates.preprocessing(encoder.model_copy(update={"preprocessing": told}), case).passed


@pytest.mark.parametrize("fault", ["channels", "scale"])
def test_a_wrong_mean_or_deviation_is_refused(fault):
    encoder, case = case_of("urfound")
    change = {"mean": encoder.input.mean[::-1]} if fault == "channels" else {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    assert not gates.preprocessing(
        encoder.model_copy(update={"input": encoder.input.model_copy(update=change)}), case
    ).passed


def test_adapters_that_are_not_merged_are_refused():
    encoder, case = case_of("loradinoret")
    weights = dict(weights_of("loradinoret"))
    for name in [name for name in weights if name.endswith("lora_B.weight")]:
        weights[name] = torch.zeros_like(weights[name])
    (reading, _) = gates.original(vit.arrays(encoder, weights, case), case, encoder)
    assert not reading.passed


def test_positions_of_the_inputs_grid_are_kept_and_others_resampled_without_antialiasing():
    encoder = EncoderFile.load("dinoret")
    rng = np.random.default_rng(0)
    same = torch.from_numpy(rng.standard_normal((1, 257, 768)).astype(np.float32))
    assert vit.positions(encoder, same) is same
    large = torch.from_numpy(rng.standard_normal((1, 1370, 768)).astype(np.float32))
    small = vit.positions(encoder, large)
    assert small.shape == (1, 257, 768)
    assert torch.equal(small[:, 0], large[:, 0])
    grid = large[:, 1:].reshape(1, 37, 37, 768).permute(0, 3, 1, 2)
    smooth = nn.functional.interpolate(grid, size=(16, 16), mode="bicubic", antialias=True)
    assert (small[:, 1:] - smooth.permute(0, 2, 3, 1).flatten(1, 2)).abs().max() > 0.5


def test_positions_of_no_published_size_are_refused():
    with pytest.raises(Misconfigured, match="no published size"):
        vit.positions(EncoderFile.load("dinoret"), torch.zeros(1, 101, 768))


def _mean_of_all(network, layers):
    patches, prefix = layers[-1]
    return network.fc_norm(torch.cat([prefix, patches], 1).mean(1))
