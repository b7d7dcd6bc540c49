"""VisionUnite's eyes against the original, and the faults in either of its transformers that the gates must refuse."""

from __future__ import annotations

import dataclasses
import types

import pytest
import torch
from torch import nn
from torch.nn import functional

from eyestream.errors import Misconfigured
from eyestream_engines import checkpoints, gates
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.families import family_of
from eyestream_engines.spec import EncoderFile


class Told(nn.Module):
    """A transformer that was asked before: the half of VisionUnite's eyes that a fault does not touch."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer


@pytest.fixture(scope="module")
def visionunite():
    """The description, weights of what it uses, and both transformers' answers to the case's first picture."""
    encoder = EncoderFile.load("visionunite")
    used = family_of(encoder).expected(encoder)
    case = Case.open(PARITY / encoder.parity)
    keys = {name: facts for name, facts in case.facts["keys"].items() if name in used}
    case = dataclasses.replace(case, facts={**case.facts, "keys": keys})
    weights = checkpoints.select(encoder, case.file())
    eyes = family_of(encoder).module(encoder, weights)
    picture = torch.from_numpy(case.pictures()[:1])
    wanted = {name: rows[:1] for name, rows in case.expected().items()}
    with torch.inference_mode():
        answers = {"eva": eyes.eva(picture), "clip": eyes.clip(functional.avg_pool2d(picture, 2))}
    return types.SimpleNamespace(encoder=encoder, weights=weights, picture=picture, wanted=wanted, answers=answers)


def eyes_of(visionunite, *, fault, weights=None):
    """The eyes, with what was answered before in place of every half that has no fault; of none where it is None."""
    eyes = family_of(visionunite.encoder).module(visionunite.encoder, weights or visionunite.weights)
    for half in () if fault is None else {"eva", "clip"} - {fault}:
        setattr(eyes, half, Told(visionunite.answers[half]))
    return eyes


def token_reading(visionunite, eyes, *, picture=None):
    """The token that is served, of the first picture, against the original's."""
    with torch.inference_mode():
        got = eyes(visionunite.picture if picture is None else picture).numpy()
    case = types.SimpleNamespace(expected=lambda: {"embedding": visionunite.wanted["embedding"]})
    (reading,) = gates.original({"embedding": got}, case, visionunite.encoder)
    return reading


def refused(reading):
    with pytest.raises(Misconfigured, match="not published"):
        gates.require(reading)


def forget_positions(weights):
    for name in weights:
        if name.endswith(("pos_embed", "positional_embedding")):
            weights[name] = torch.zeros_like(weights[name])


def swap_two_blocks(weights):
    for name in [name for name in weights if "blocks.0." in name]:
        partner = name.replace("blocks.0.", "blocks.1.")
        weights[name], weights[partner] = weights[partner], weights[name]


def another_epsilon(network):
    for layer in network.modules():
        if isinstance(layer, nn.LayerNorm):
            layer.eps = 1e-12 if layer.eps == 1e-5 else 1e-5


def plain_gelu(network):
    for module in network.modules():
        if isinstance(module, nn.ModuleDict) and "gelu" in module:
            module["gelu"] = nn.GELU()


def test_without_a_fault_the_token_passes(visionunite):
    gates.require(token_reading(visionunite, eyes_of(visionunite, fault="neither")))


@pytest.mark.parametrize("half", ["eva", "clip"])
@pytest.mark.parametrize("fault", [forget_positions, swap_two_blocks])
def test_weights_with_a_fault_are_refused(visionunite, half, fault):
    prefix = {"eva": "eva02.", "clip": "clip."}[half]
    touched = {name: value for name, value in visionunite.weights.items() if name.startswith(prefix)}
    fault(touched)
    refused(token_reading(visionunite, eyes_of(visionunite, fault=half, weights=visionunite.weights | touched)))


def gelu_for_silu(network):
    found = [module for module in network.modules() if isinstance(getattr(module, "act", None), nn.SiLU)]
    assert found
    for module in found:
        module.act = nn.GELU()


def pool_the_class_token_too(network):
    network.pool = lambda tokens: tokens.mean(1)


@pytest.mark.parametrize(
    ("half", "fault"),
    [
        ("eva", gelu_for_silu),
        ("eva", another_epsilon),
        ("eva", pool_the_class_token_too),
        ("clip", plain_gelu),
        ("clip", another_epsilon),
    ],
)
def test_a_network_with_a_fault_is_refused(visionunite, half, fault):
    eyes = eyes_of(visionunite, fault=half)
    fault(getattr(eyes, half))
    refused(token_reading(visionunite, eyes))


def test_a_small_picture_made_with_antialiasing_is_refused(visionunite):
    eyes = eyes_of(visionunite, fault="clip")
    size = (224, 224)
    small = functional.interpolate(visionunite.picture, size, mode="bilinear", antialias=True, align_corners=False)
    with torch.inference_mode():
        eyes.clip = Told(eyes.clip(small))
    refused(token_reading(visionunite, eyes))


def test_vectors_added_with_their_lengths_are_refused(visionunite):
    eyes = eyes_of(visionunite, fault="neither")
    eyes.halves = lambda _x: (visionunite.answers["eva"], visionunite.answers["clip"])
    refused(token_reading(visionunite, eyes))


@pytest.mark.parametrize("fault", ["bgr", "not normalised"])
def test_pictures_prepared_wrongly_are_refused(visionunite, fault):
    x = visionunite.picture
    wrong = {"bgr": x.flip(1), "not normalised": (x * 64 + 127).clamp(0, 255)}[fault]
    refused(token_reading(visionunite, eyes_of(visionunite, fault=None), picture=wrong))
