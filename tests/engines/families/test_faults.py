"""What the gates must refuse, for FLAIR, the CLIPs, OCTCube, RetFiner and RetinaVLM.

A fault is made in the weights, in the network, or in what it is given; the original's numbers must show it. Plain
vision transformers' faults are in test_vit.py, VisionUnite's in test_visionunite.py.
"""

from __future__ import annotations

import dataclasses
import types

import pytest
import torch
from torch import nn
from torch.nn import functional

from eyestream.errors import Misconfigured
from eyestream_engines import gates
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.export import Engine
from eyestream_engines.families import family_of
from eyestream_engines.families import octcube as octcube_family
from eyestream_engines.networks import octcube as octcube_network
from eyestream_engines.spec import Input

ENFACE = "octcube-ir-toy, en face"
OUTPUT = {
    "eyeclip": "image_embedding_raw",
    "ret-clip": "image_backbone",
    "flair": "image_embedding",
    "retinavlm": "pooled",
    "retfiner-urfound": "image_embedding",
    "octcube-toy": "embedding",
    "octcube-ir-toy": "embedding",
    ENFACE: "embedding_ir",
}
"""Which stored array an engine's vectors are, for those that faults are tried on."""

AS_THEY_ARE = {"eyeclip"}
"""Whose array was stored before its length was made 1, where a fault shows more."""


class OneArray(Case):
    """A case cut down to its first picture and to the array that is the engine's output."""

    array = ""

    def pictures(self):
        return super().pictures()[:1]

    def expected(self):
        return {"output": super().expected()[self.array][:1]}


@pytest.fixture(scope="module")
def described(encoder_of):
    """The encoder, or the other tower of its file."""

    def read(name):
        if name != ENFACE:
            return encoder_of(name)
        encoder = encoder_of("octcube-ir-toy")
        side = encoder.architecture.enface
        changed = {
            "architecture": encoder.architecture.model_copy(update={"tower": "enface"}),
            "input": Input(height=side, width=side, mean=(0.0,) * 3, std=(1.0,) * 3),
        }
        return encoder.model_copy(update=changed)

    return read


@pytest.fixture(scope="module")
def network_of(described, weights_of):
    """The encoder's network, with these weights where they are given."""

    def build(name, weights=None):
        encoder = described(name)
        return family_of(encoder).module(encoder, weights or weights_of(name.partition(",")[0]))

    return build


@pytest.fixture(scope="module")
def reading_of(described):
    """How far a network's output is from the original's."""

    def read(name, network):
        encoder = described(name)
        opened = Case.open(PARITY / encoder.parity)
        case = OneArray(**{field.name: getattr(opened, field.name) for field in dataclasses.fields(opened)})
        object.__setattr__(case, "array", OUTPUT[name])
        several = "shapes" in case.facts["input"]
        pictures = case.inputs()["ir" if name == ENFACE else "oct"][:1] if several else case.pictures()
        with torch.inference_mode():
            got = network(torch.from_numpy(pictures)).numpy()
        if encoder.output.l2 and name not in AS_THEY_ARE:
            got = gates.unit(got)
        (reading,) = gates.original({"output": got}, case, encoder)
        return reading

    return read


def refused(reading):
    with pytest.raises(Misconfigured, match="not published"):
        gates.require(reading)


@pytest.mark.parametrize("name", OUTPUT)
def test_without_a_fault_the_same_output_passes(name, network_of, reading_of):
    gates.require(reading_of(name, network_of(name)))


def forget_positions(weights):
    for name in weights:
        if name.endswith(("positional_embedding", "pos_embed", "pos_embed_spatial")):
            weights[name] = torch.zeros_like(weights[name])


def swap_two_blocks(weights):
    one, other = (".0.", ".1.")
    stems = ("visual.transformer.resblocks", "blocks", "visual.blocks", "text.blocks")
    pairs = [
        (name, name.replace(f"{stem}{one}", f"{stem}{other}", 1))
        for stem in stems
        for name in weights
        if name.startswith(f"{stem}{one}")
    ]
    pairs += [(name, name.replace("layer3.1.", "layer3.2.")) for name in weights if "layer3.1." in name]
    assert pairs
    for name, partner in pairs:
        weights[name], weights[partner] = weights[partner], weights[name]


def interpolate_positions_bilinearly(weights):
    """To the size that the small OCTCube reads; the authors do it bicubically."""
    table = weights["pos_embed_spatial"]
    grid = table.unflatten(1, (8, 8)).permute(0, 3, 1, 2)
    small = functional.interpolate(grid, (4, 4), mode="bilinear", align_corners=False)
    weights["pos_embed_spatial"] = small.permute(0, 2, 3, 1).flatten(1, 2)


def take_the_nearest_depths(weights):
    weights["pos_embed_temporal"] = weights["pos_embed_temporal"][:, ::2]


def plain_gelu(network):
    found = [module for module in network.modules() if isinstance(module, nn.ModuleDict) and "gelu" in module]
    assert found
    for module in found:
        module["gelu"] = nn.GELU()


def tanh_gelu(network):
    found = [module for module in network.modules() if isinstance(getattr(module, "act", None), nn.GELU)]
    assert found
    for module in found:
        module.act = nn.GELU(approximate="tanh")


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
    ("octcube-toy", interpolate_positions_bilinearly),
    ("octcube-toy", take_the_nearest_depths),
    ("octcube-ir-toy", forget_positions),
    (ENFACE, forget_positions),
    (ENFACE, swap_two_blocks),
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
    (ENFACE, another_epsilon),
]


@pytest.mark.parametrize(("name", "fault"), WEIGHTS)
def test_weights_with_a_fault_are_refused(name, fault, weights_of, network_of, reading_of):
    weights = dict(weights_of(name.partition(",")[0]))
    fault(weights)
    refused(reading_of(name, network_of(name, weights)))


@pytest.mark.parametrize(("name", "fault"), NETWORK)
def test_a_network_with_a_fault_is_refused(name, fault, network_of, reading_of):
    network = network_of(name)
    fault(network)
    refused(reading_of(name, network))


@pytest.mark.parametrize("name", ["octcube-toy", "octcube-ir-toy", ENFACE])
@pytest.mark.parametrize("wrong", ["tanh", "quick"])
def test_octcube_with_another_gelu_is_refused(name, wrong, network_of, reading_of, monkeypatch):
    """Its blocks call the function, so that the function is exchanged."""
    gelu = {
        "tanh": lambda x: functional.gelu(x, approximate="tanh"),
        "quick": lambda x: x * torch.sigmoid(1.702 * x),
    }[wrong]
    for module in (octcube_network, octcube_family):
        told = types.SimpleNamespace(**{**vars(functional), "gelu": gelu})
        monkeypatch.setattr(module, "functional", told)
    refused(reading_of(name, network_of(name)))


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
def test_another_pooling_is_refused(name, network_of, reading_of):
    for wrong in poolings(name, network_of(name)).values():
        refused(reading_of(name, wrong))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *((name, "bgr") for name in ("eyeclip", "flair", "retfiner-urfound", ENFACE)),
        *((name, "not normalised") for name in ("eyeclip", "flair", "retfiner-urfound", ENFACE)),
        # Volumes and RetinaVLM's B-scans are grey: there is no order of channels to be wrong.
        *((name, "not normalised") for name in ("octcube-toy", "octcube-ir-toy", "retinavlm")),
    ],
)
def test_pictures_prepared_wrongly_are_refused(name, fault, network_of, reading_of):
    network = network_of(name)
    wrong = {"bgr": lambda x: x.flip(1), "not normalised": lambda x: (x * 64 + 127).clamp(0, 255)}[fault]
    refused(reading_of(name, lambda x: network(wrong(x))))


@pytest.mark.parametrize("name", ["octcube-toy", "retinavlm", ENFACE])
def test_a_front_that_leaves_grey_levels_as_they_are_is_refused(name, described, network_of):
    encoder, network = described(name), network_of(name)
    pixels = gates.pictures(encoder.input, 2)
    engine = Engine(encoder, network)
    with torch.inference_mode():
        expected = network(torch.from_numpy(gates.normalised(pixels, encoder.input))).numpy()
        expected = gates.unit(expected) if encoder.output.l2 else expected
        good = gates.graph(expected, engine(torch.from_numpy(pixels)).numpy(), encoder)
        engine.front.std = torch.ones_like(engine.front.std)
        bad = gates.graph(expected, engine(torch.from_numpy(pixels)).numpy(), encoder)
    gates.require(good)
    refused(bad)


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
