"""FLAIR, the CLIPs, OCTCube, RetFiner and RetinaVLM against their originals.

OCTCube at full size and RetFiner with texts are left to `make engines-report`; VisionUnite is among the faults.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from eyestream.errors import Misconfigured
from eyestream_engines import checkpoints, gates
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.families import family_of
from eyestream_engines.networks.clip import QuickGelu

SMALL = ("octcube-toy", "octcube-ir-toy", "octcube-ef-toy")


@pytest.mark.parametrize("name", ["flair", "eyeclip", "ret-clip", "retinavlm", "retfiner-visionfm", *SMALL])
def test_torch_says_what_the_original_says(name, encoder_of, weights_of):
    encoder = encoder_of(name)
    case = Case.open(PARITY / encoder.parity)
    readings = gates.original(family_of(encoder).arrays(encoder, weights_of(name), case), case, encoder)
    assert len(readings) == len(case.expected())
    for reading in readings:
        assert reading.passed, reading.told()


PREPARED = ["flair", "ret-clip", "vilref", "eyeclip", "retfiner-retfound", "retfiner-visionfm", "retfiner-full"]


@pytest.mark.parametrize("name", PREPARED)
def test_our_preparation_is_theirs(name, encoder_of):
    encoder = encoder_of(name)
    reading = gates.preprocessing(encoder, Case.open(PARITY / encoder.parity))
    assert reading is not None
    assert reading.passed, reading.told()


@pytest.mark.parametrize("name", PREPARED)
@pytest.mark.parametrize("fault", [{"antialias": False}, {"shape": "pad-square"}])
def test_another_preparation_is_refused(name, fault, encoder_of):
    encoder = encoder_of(name)
    changed = encoder.preprocessing.model_copy(update=fault)
    changed = encoder.model_copy(update={"preprocessing": changed})
    reading = gates.preprocessing(changed, Case.open(PARITY / encoder.parity))
    assert reading is not None
    assert not reading.passed


def test_quick_gelu_is_not_gelu():
    x = torch.linspace(-4, 4, 801)
    assert 0.01 < (QuickGelu()(x) - nn.functional.gelu(x)).abs().max() < 0.03


def test_a_picture_of_three_equal_channels_is_a_grey_picture_to_retinavlm(encoder_of, weights_of):
    network = family_of(encoder_of("retinavlm")).module(encoder_of("retinavlm"), weights_of("retinavlm"))
    grey = torch.from_numpy(np.random.default_rng(3).standard_normal((1, 1, 64, 64)).astype(np.float32))
    with torch.inference_mode():
        assert torch.equal(network(grey), network(grey.expand(-1, 3, -1, -1)))


def test_a_patients_vector_depends_on_which_eye_is_left(encoder_of, weights_of):
    from eyestream_engines.families import clip

    left, right = clip.patient(weights_of("ret-clip"))
    x, y = torch.randn(2, 512, generator=torch.Generator().manual_seed(0))
    assert (left @ x + right @ y - left @ y - right @ x).abs().max() > 0.1
    maps = clip.maps(encoder_of("ret-clip"), weights_of("ret-clip"))
    assert torch.allclose(maps["patient"] @ x, left @ x + right @ x, atol=1e-5)


def test_another_familys_file_is_refused_and_named(encoder_of):
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
def test_names_that_older_files_use_are_taken(name, alias, key, encoder_of, weights_of):
    encoder = encoder_of(name)
    case = Case.open(PARITY / encoder.parity)
    tensors = case.tensors()
    tensors[alias] = tensors.pop(key)
    if name in SMALL:
        told = encoder.checkpoint.model_copy(update={"aliases": {"enface.": "text."}})
        encoder = encoder.model_copy(update={"checkpoint": told})
    held = {case.facts["wrapper"]: tensors} if case.facts["wrapper"] else tensors
    assert checkpoints.select(encoder, held).keys() == weights_of(name).keys()
