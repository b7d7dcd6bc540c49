"""Checkpoints against formats, to the last key."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from eyestream.errors import Misconfigured
from eyestream_engines import checkpoints, files
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.spec import EncoderFile, names


def test_a_published_layout_is_unwrapped_stripped_and_cleared_of_what_is_ignored(tiny, tiny_weights):
    held = {
        "model": {f"module.{name}": value for name, value in tiny_weights.items()}
        | {"decoder_embed.weight": torch.ones(1)},
        "epoch": 3,
    }
    assert checkpoints.select(tiny, held).keys() == tiny_weights.keys() - {"norm.weight", "norm.bias"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_become_float32(tiny, tiny_weights, dtype):
    held = {name: value.to(dtype) for name, value in tiny_weights.items()}
    selected = checkpoints.select(tiny, held)
    assert {value.dtype for value in selected.values()} == {torch.float32}
    assert torch.allclose(selected["cls_token"], tiny_weights["cls_token"], atol=1e-3)


def test_a_file_made_flat_by_a_conversion_is_read_as_well(tiny, tiny_weights, tmp_path):
    path = tmp_path / "flat.safetensors"
    save_file({f"model.{name}": value for name, value in tiny_weights.items()}, path)
    read = checkpoints.read(tiny, path)
    assert torch.equal(read.tensors["cls_token"], tiny_weights["cls_token"])
    assert read.digest == files.digest(path)


def test_every_fault_is_told_at_once(tiny, tiny_weights):
    held = dict(tiny_weights)
    for block in range(2):
        del held[f"blocks.{block}.norm1.bias"]
    held["head.weight"] = torch.ones(5, 32)
    held["pos_embed"] = torch.ones(1, 5, 32)
    with pytest.raises(Misconfigured) as caught:
        checkpoints.select(tiny, held, source="file.pth")
    text = str(caught.value)
    assert "file.pth is not a checkpoint of tiny" in text
    assert "2 missing: blocks.{0-1}.norm1.bias" in text
    assert "1 unexpected: head.weight" in text
    assert "1 of another shape: pos_embed [1, 5, 32], not [1, 17, 32]" in text


def test_another_encoders_file_is_called_by_its_own_name():
    held = _empty("visionfm")
    with pytest.raises(Misconfigured, match="It is a checkpoint of: visionfm-external, visionfm-ffa"):
        checkpoints.select(EncoderFile.load("urfound"), held)


def test_a_nearly_right_file_is_told_its_closest_format():
    held = _empty("retfound_green")
    del held["norm.weight"]
    with pytest.raises(Misconfigured, match="closest known format is that of retfound-green: 174 keys fit, 1 do not"):
        checkpoints.select(EncoderFile.load("urfound"), held)


def test_a_file_of_something_else_resembles_nothing(tiny):
    with pytest.raises(Misconfigured, match="resembles no encoder known here; at its top it holds: fc"):
        checkpoints.select(tiny, {"fc": torch.ones(3)})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused_with_their_place(tiny, tiny_weights, number):
    held = {name: value.clone() for name, value in tiny_weights.items()}
    held["blocks.1.mlp.fc1.weight"][3, 4] = number
    with pytest.raises(Misconfigured, match=r"not finite, in: blocks\.1\.mlp\.fc1\.weight"):
        checkpoints.select(tiny, held)


KINDS = {
    "int8": lambda value: value.to(torch.int8),
    "bool": lambda value: value > 0,
    "complex64": lambda value: value.to(torch.complex64),
    "sparse": lambda value: value.to_sparse(),
    "without numbers": lambda value: value.to("meta"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_a_kind_that_nobody_publishes_are_refused_with_their_place(tiny, tiny_weights, kind):
    name = next(name for name, value in tiny_weights.items() if name.endswith("weight") and value.ndim == 2)
    with pytest.raises(Misconfigured, match=rf"{name} \(.*{kind}.*neither quantised nor sparse".replace(".w", r"\.w")):
        checkpoints.select(tiny, {"model": tiny_weights | {name: KINDS[kind](tiny_weights[name])}})


def test_a_file_that_changes_while_it_is_read_is_refused(tiny, tiny_weights, tmp_path, monkeypatch):
    path = tmp_path / "tiny.pth"
    torch.save({"model": tiny_weights}, path)
    read = files.read

    def rewritten(which):
        held = read(which)
        other = tmp_path / "other.pth"
        torch.save({"model": {name: value + 1 for name, value in tiny_weights.items()}}, other)
        other.replace(which)
        return held

    monkeypatch.setattr(files, "read", rewritten)
    with pytest.raises(Misconfigured, match="changed while it was read"):
        checkpoints.read(tiny, path)


@pytest.mark.parametrize("name", [name for name in names() if EncoderFile.load(name).architecture.family == "vit"])
def test_the_published_keys_of_every_vision_transformer_are_its_format(name):
    encoder = EncoderFile.load(name)
    assert encoder.parity is not None
    fit = checkpoints.compare(encoder, checkpoints.unwrap(encoder, _empty(encoder.parity)))
    assert fit.whole, checkpoints.faults(fit)


@pytest.mark.parametrize("name", names())
def test_every_published_encoder_has_an_original_to_be_held_against(name):
    encoder = EncoderFile.load(name)
    if encoder.architecture.family == "demo" or encoder.evidence == "assumed":
        return
    assert encoder.parity is not None
    assert Case.open(PARITY / encoder.parity).expected()


def _empty(case: str):
    """The published file of a case, its tensors without memory."""
    facts = Case.open(PARITY / case).facts
    with torch.device("meta"):
        inner = {key: torch.empty(shape, dtype=getattr(torch, kind)) for key, (shape, kind) in facts["keys"].items()}
        if beside := facts.get("classifier_wrapper"):
            keys = facts["classifier_keys"].items()
            return {
                facts["wrapper"]: inner,
                beside: {key: torch.empty(shape, dtype=getattr(torch, kind)) for key, (shape, kind) in keys},
            }
    return {facts["wrapper"]: inner} if facts.get("wrapper") else inner
