"""FLAIR, the CLIPs, OCTCube, RetFiner and RetinaVLM against their originals, and faults that must show in the numbers.

The largest, VisionUnite, OCTCube at full size and RetFiner with texts, are left to `make engines-report`.
"""

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
from eyestream_engines.families import family_of
from eyestream_engines.networks.clip import QuickGelu
from eyestream_engines.spec import EncoderFile

SMALL = {"octcube-toy": "octcube_toy", "octcube-ir-toy": "octcube_ir_toy", "octcube-ef-toy": "octcube_ef_toy"}
OUTPUT = {
    "eyeclip": "image_embedding_raw",
    "ret-clip": "image_backbone",
    "flair": "image_embedding",
    "retinavlm": "pooled",
    "retfiner-urfound": "image_embedding",
    "octcube-toy": "embedding",
    "octcube-ir-toy": "embedding",
}
"""Which stored array an engine's vectors are, for those that faults are tried on."""

AS_THEY_ARE = {"eyeclip"}
"""Whose array was stored before its length was made 1, where a fault shows more."""


@functools.cache
def encoder_of(name):
    return EncoderFile.read(PARITY / SMALL[name] / "encoder.toml") if name in SMALL else EncoderFile.load(name)


@functools.cache
def weights_of(name):
    encoder = encoder_of(name)
    return checkpoints.select(encoder, Case.open(PARITY / encoder.parity).file())


@pytest.mark.parametrize("name", ["flair", "eyeclip", "ret-clip", "retinavlm", "retfiner-visionfm", *SMALL])
def test_torch_says_what_the_original_says(name):
    encoder = encoder_of(name)
    case = Case.open(PARITY / encoder.parity)
    readings = gates.original(family_of(encoder).arrays(encoder, weights_of(name), case), case, encoder)
    assert len(readings) == len(case.expected())
    for reading in readings:
        assert reading.passed, reading.told()


class OneArray(Case):
    """A case cut down to its first picture and to the array that is the engine's output."""

    array = ""

    def pictures(self):
        return super().pictures()[:1]

    def expected(self):
        return {"output": super().expected()[self.array][:1]}


def reading_of(name, network):
    """How far the network's output is from the original's."""
    encoder = encoder_of(name)
    opened = Case.open(PARITY / encoder.parity)
    case = OneArray(**{field.name: getattr(opened, field.name) for field in dataclasses.fields(opened)})
    object.__setattr__(case, "array", OUTPUT[name])
    pictures = case.inputs()["oct"][:1] if "shapes" in case.facts["input"] else case.pictures()
    with torch.inference_mode():
        got = network(torch.from_numpy(pictures)).numpy()
    if encoder.output.l2 and name not in AS_THEY_ARE:
        got = gates.unit(got)
    (reading,) = gates.original({"output": got}, case, encoder)
    return reading


def forget_positions(weights):
    for name in weights:
        if name.endswith(("positional_embedding", "pos_embed", "pos_embed_spatial")):
            weights[name] = torch.zeros_like(weights[name])


def swap_two_blocks(weights):
    one, other = (".0.", ".1.")
    pairs = [
        (name, name.replace(f"{stem}{one}", f"{stem}{other}", 1))
        for stem in ("visual.transformer.resblocks", "blocks", "visual.blocks")
        for name in weights
        if name.startswith(f"{stem}{one}")
    ]
    pairs += [(name, name.replace("layer3.1.", "layer3.2.")) for name in weights if "layer3.1." in name]
    assert pairs
    for name, partner in pairs:
        weights[name], weights[partner] = weights[partner], weights[name]


def plain_gelu(network):
    found = [module for module in network.modules() if hasattr(module, "gelu") or isinstance(module, nn.ModuleDict)]
    changed = 0
    for module in found:
        if isinstance(module, nn.ModuleDict) and "gelu" in module:
            module["gelu"] = nn.GELU()
            changed += 1
    assert changed


def tanh_gelu(network):
    changed = 0
    for module in network.modules():
        if hasattr(module, "act") and isinstance(module.act, nn.GELU):
            module.act = nn.GELU(approximate="tanh")
            changed += 1
    assert changed


def another_epsilon(network):
    for layer in network.modules():
        if isinstance(layer, nn.LayerNorm):
            layer.eps = 1e-12 if layer.eps == 1e-5 else 1e-5
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 1e-3


def stride_in_the_first_convolution(network):
    for layer in network.modules():
        if hasattr(layer, "conv2") and layer.conv2.stride == (2, 2):
            layer.conv1.stride, layer.conv2.stride = (2, 2), (1, 1)


WEIGHTS = [
    ("eyeclip", forget_positions),
    ("eyeclip", swap_two_blocks),
    ("flair", swap_two_blocks),
    ("retinavlm", swap_two_blocks),
    ("retfiner-urfound", forget_positions),
    ("retfiner-urfound", swap_two_blocks),
    ("octcube-toy", forget_positions),
    ("octcube-toy", swap_two_blocks),
    ("octcube-ir-toy", forget_positions),
]
NETWORK = [
    ("eyeclip", plain_gelu),
    ("eyeclip", another_epsilon),
    ("flair", another_epsilon),
    ("flair", stride_in_the_first_convolution),
    ("retinavlm", another_epsilon),
    ("retinavlm", stride_in_the_first_convolution),
    ("retfiner-urfound", tanh_gelu),
    ("retfiner-urfound", another_epsilon),
    ("octcube-toy", another_epsilon),
]


@pytest.mark.parametrize(("name", "fault"), WEIGHTS)
def test_weights_with_a_fault_are_refused(name, fault):
    weights = dict(weights_of(name))
    fault(weights)
    encoder = encoder_of(name)
    with pytest.raises(Misconfigured, match="not published"):
        gates.require(reading_of(name, family_of(encoder).module(encoder, weights)))


@pytest.mark.parametrize(("name", "fault"), NETWORK)
def test_a_network_with_a_fault_is_refused(name, fault):
    encoder = encoder_of(name)
    network = family_of(encoder).module(encoder, weights_of(name))
    fault(network)
    with pytest.raises(Misconfigured, match="not published"):
        gates.require(reading_of(name, network))


@pytest.mark.parametrize("name", OUTPUT)
def test_without_a_fault_the_same_output_passes(name):
    encoder = encoder_of(name)
    gates.require(reading_of(name, family_of(encoder).module(encoder, weights_of(name))))


def poolings(name, network):
    """The wrong ways of making one vector of what the family's network computes."""
    if name == "eyeclip":
        return {"mean of all tokens": lambda x: _mean_of_tokens(network, x)}
    if name == "octcube-toy":
        return {
            "class token": lambda x: network.trunk(x)[:, 0],
            "class token counted": lambda x: network.trunk(x).mean(1),
            "residual added": lambda x: _with_residual(network.trunk, x)[:, 1:].mean(1),
        }
    if name == "flair":
        return {"maximum": lambda x: network.head(network.model(x).amax((2, 3)))}
    if name == "retinavlm":
        return {"maximum": lambda x: network.features(x).amax((2, 3))}
    return {"the order of the published probe turned": lambda x: network(x).roll(768, dims=1)}


@pytest.mark.parametrize("name", ["eyeclip", "octcube-toy", "flair", "retinavlm", "retfiner-urfound"])
def test_another_pooling_is_refused(name):
    encoder = encoder_of(name)
    network = family_of(encoder).module(encoder, weights_of(name))
    for wrong in poolings(name, network).values():
        with pytest.raises(Misconfigured, match="not published"):
            gates.require(reading_of(name, wrong))


@pytest.mark.parametrize("name", ["eyeclip", "flair", "retfiner-urfound"])
@pytest.mark.parametrize("fault", ["bgr", "not normalised"])
def test_pictures_prepared_wrongly_are_refused(name, fault):
    encoder = encoder_of(name)
    network = family_of(encoder).module(encoder, weights_of(name))
    wrong = {"bgr": lambda x: x.flip(1), "not normalised": lambda x: (x * 64 + 127).clamp(0, 255)}[fault]
    with pytest.raises(Misconfigured, match="not published"):
        gates.require(reading_of(name, lambda x: network(wrong(x))))


PREPARED = ["flair", "ret-clip", "vilref", "eyeclip", "retfiner-retfound", "retfiner-visionfm", "retfiner-full"]


@pytest.mark.parametrize("name", PREPARED)
def test_our_preparation_is_theirs(name):
    encoder = encoder_of(name)
    reading = gates.preprocessing(encoder, Case.open(PARITY / encoder.parity))
    assert reading is not None
    assert reading.passed, reading.told()


@pytest.mark.parametrize("name", PREPARED)
@pytest.mark.parametrize("fault", [{"antialias": False}, {"shape": "pad-square"}])
def test_another_preparation_is_refused(name, fault):
    encoder = encoder_of(name)
    changed = encoder.preprocessing.model_copy(update=fault)
    changed = encoder.model_copy(update={"preprocessing": changed})
    reading = gates.preprocessing(changed, Case.open(PARITY / encoder.parity))
    assert reading is not None
    assert not reading.passed


def _mean_of_tokens(network, x):
    patches = network.conv1(x).flatten(2).transpose(1, 2)
    first = network.class_embedding.expand(len(x), 1, -1)
    tokens = network.ln_pre(torch.cat([first, patches], 1) + network.positional_embedding)
    return network.ln_post(network.transformer(tokens, causal=False).mean(1)) @ network.proj


def _with_residual(trunk, x):
    kept = []
    last = trunk.blocks[-1]
    hook = last.register_forward_hook(lambda _module, _given, out: kept.append(out[1]))
    try:
        branch = trunk(x)
    finally:
        hook.remove()
    return branch + kept[0]


def test_quick_gelu_is_not_gelu():
    x = torch.linspace(-4, 4, 801)
    assert 0.01 < (QuickGelu()(x) - nn.functional.gelu(x)).abs().max() < 0.03


def test_a_picture_of_three_equal_channels_is_a_grey_picture_to_retinavlm():
    network = family_of(encoder_of("retinavlm")).module(encoder_of("retinavlm"), weights_of("retinavlm"))
    grey = torch.from_numpy(np.random.default_rng(3).standard_normal((1, 1, 64, 64)).astype(np.float32))
    with torch.inference_mode():
        assert torch.equal(network(grey), network(grey.expand(-1, 3, -1, -1)))


def test_a_patients_vector_depends_on_which_eye_is_left():
    from eyestream_engines.families import clip

    left, right = clip.patient(weights_of("ret-clip"))
    x, y = torch.randn(2, 512, generator=torch.Generator().manual_seed(0))
    assert (left @ x + right @ y - left @ y - right @ x).abs().max() > 0.1
    maps = clip.maps(encoder_of("ret-clip"), weights_of("ret-clip"))
    assert torch.allclose(maps["patient"] @ x, left @ x + right @ x, atol=1e-5)


def test_another_familys_file_is_refused_and_named():
    encoder = encoder_of("ret-clip")
    held = Case.open(PARITY / "vilref").file()
    with pytest.raises(Misconfigured, match=r"text_projection_left(.|\n)*vilref"):
        checkpoints.select(encoder, held)


@pytest.mark.parametrize(
    ("name", "alias", "key"),
    [
        ("octcube-ir-toy", "enface.pos_embed", "text.pos_embed"),
        (
            "retinavlm",
            "model.visual_encoder.feature_tokens_model.4.0.conv1.weight",
            "model.visual_encoder.model.layer1.0.conv1.weight",
        ),
    ],
)
def test_names_that_older_files_use_are_taken(name, alias, key):
    encoder = encoder_of(name)
    case = Case.open(PARITY / encoder.parity)
    tensors = case.tensors()
    tensors[alias] = tensors.pop(key)
    if name in SMALL:
        told = encoder.checkpoint.model_copy(update={"aliases": {"enface.": "text."}})
        encoder = encoder.model_copy(update={"checkpoint": told})
    held = {case.facts["wrapper"]: tensors} if case.facts["wrapper"] else tensors
    assert checkpoints.select(encoder, held).keys() == weights_of(name).keys()
