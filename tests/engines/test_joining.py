"""Two files made one: a published encoder and a decoder trained on it, to an engine that Triton serves."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from eyestream.apps.local import Stack
from eyestream.encoders.triton import TritonEncoder
from eyestream.errors import Misconfigured
from eyestream_engines import building, checkpoints, compilers, files, gates, joining
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.cli import app
from eyestream_engines.inference import embed
from eyestream_engines.spec import EncoderFile

FULL = "visionfm-fundus-segmentation"


@pytest.fixture(scope="module")
def case():
    return Case.open(PARITY / "visionfm_segmentation_toy")


@pytest.fixture(scope="module")
def encoder(case):
    (found,) = case.encoders
    return found


@pytest.fixture(scope="module")
def parts(case, tmp_path_factory):
    """Both files as they are published and as the authors' script saves them, with what else is in them."""
    folder = tmp_path_factory.mktemp("parts")
    held = case.file()
    body, decoder = folder / "VFM_Toy_weights.pth", folder / "checkpoint_99_linear.pth"
    torch.save({"teacher": held["encoder"] | {"head.mlp.0.weight": torch.zeros(3, 2)}, "epoch": 3}, body)
    torch.save({"epoch": 100, "state_dict": held["decoder"], "best_dice": 0.5}, decoder)
    return body, decoder


def test_the_two_files_are_joined_built_and_served(encoder, parts, tmp_path):
    joined, repository = tmp_path / "joined.safetensors", tmp_path / "model_repository"
    digest = joining.join(encoder, *parts, joined)
    assert digest == files.digest(joined)
    assert joining.join(encoder, *parts, tmp_path / "again.safetensors") == digest
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".safetensors", ".safetensors"]
    assert {name.partition(".")[0] for name in load_file(joined)} == {"encoder", "decoder"}
    built = building.build(encoder, joined, repository, compiler=compilers.choose("onnxruntime"))
    assert all(facts["passed"] for facts in built.manifest["gates"])
    pixels = gates.pictures(encoder.input, 3)

    async def ask(address):
        client = await TritonEncoder.connect(address, encoder.name, timeout_s=60)
        try:
            return client.spec, await client.encode(pixels)
        finally:
            await client.close()

    with Stack(tmp_path / "state", model_repository=repository, parts=("triton",)) as stack:
        spec, answer = asyncio.run(ask(stack.up().triton_grpc))
    assert spec.digest == digest
    masks = answer.reshape(3, 4, 96, 96)
    assert np.allclose(masks.sum(1), 1, atol=5e-3)
    assert np.allclose(answer, embed(next(built.folder.glob("*/model.onnx")), pixels), atol=1e-3)


def test_files_the_wrong_way_round_are_told_so(encoder, parts, tmp_path):
    with pytest.raises(Misconfigured, match="exchange them"):
        joining.join(encoder, *reversed(parts), tmp_path / "joined.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_decoder_that_lacks_a_key_is_refused_with_the_key(encoder, parts, tmp_path):
    held = files.read(parts[1])
    lacking = {name: value for name, value in held["state_dict"].items() if not name.endswith("c2.1.layers.1.weight")}
    torch.save({"state_dict": lacking}, tmp_path / "decoder.pth")
    with pytest.raises(
        Misconfigured, match=r"1 missing: decoder\.c2\.1\.layers\.1\.weight(.|\n)*at its top state_dict"
    ):
        joining.join(encoder, parts[0], tmp_path / "decoder.pth", tmp_path / "joined.safetensors")


def test_a_decoder_of_another_number_of_classes_is_refused_with_both(encoder, parts, tmp_path):
    held = dict(files.read(parts[1])["state_dict"])
    held |= {"module.cls.weight": torch.zeros(1, 16, 1, 1), "module.cls.bias": torch.zeros(1)}
    torch.save({"state_dict": held}, tmp_path / "decoder.pth")
    with pytest.raises(Misconfigured, match=r"decoder\.cls\.weight \[1, 16, 1, 1\], not \[4, 16, 1, 1\]"):
        joining.join(encoder, parts[0], tmp_path / "decoder.pth", tmp_path / "joined.safetensors")


def test_a_decoder_whose_numbers_are_sick_is_refused(encoder, parts, tmp_path):
    held = dict(files.read(parts[1])["state_dict"])
    held["module.cls.bias"] = torch.full((4,), float("nan"))
    torch.save({"state_dict": held}, tmp_path / "decoder.pth")
    with pytest.raises(Misconfigured, match=r"not finite, in: decoder\.cls\.bias"):
        joining.join(encoder, parts[0], tmp_path / "decoder.pth", tmp_path / "joined.safetensors")


def test_a_file_to_join_is_never_written_over(encoder, parts, tmp_path):
    before = files.digest(parts[1])
    with pytest.raises(Misconfigured, match="would be written over"):
        joining.join(encoder, *parts, parts[1])
    assert files.digest(parts[1]) == before


def test_a_place_that_cannot_be_written_is_told_and_left_as_it_was(encoder, parts, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(Misconfigured, match="folder cannot be written"):
        joining.join(encoder, *parts, tmp_path / "folder")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(Misconfigured, match="cannot be written"):
        joining.join(encoder, *parts, tmp_path / "file" / "joined.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_joined_file_is_known_for_what_it_is():
    held = Case.open(PARITY / "visionfm_segmentation").file()
    flat = {f"{part}.{name}": value for part, tensors in held.items() for name, value in tensors.items()}
    for form in (held, flat):
        assert [fit.encoder.name for fit in checkpoints.fits(form) if fit.whole] == [FULL]


def test_an_encoder_of_one_file_has_nothing_to_join(parts, tmp_path):
    with pytest.raises(Misconfigured, match="one file already"):
        joining.join(EncoderFile.load("visionfm-fundus"), *parts, tmp_path / "joined.safetensors")


def test_a_classifiers_checkpoint_is_named_for_what_it_is(tmp_path):
    held = Case.open(PARITY / "visionfm_finetuned").file()
    with pytest.raises(
        Misconfigured, match=r"not a checkpoint of visionfm-fundus-seg(.|\n)*It is a checkpoint of: visi"
    ):
        checkpoints.select(EncoderFile.load(FULL), held)
    classifier = tmp_path / "checkpoint_best_finetune.pth"
    torch.save(held, classifier)
    with pytest.raises(Misconfigured, match=r"The files are:(.|\n)*a checkpoint of visionfm-fundus-classifier"):
        joining.join(EncoderFile.load(FULL), classifier, classifier, tmp_path / "joined.safetensors")


def test_an_encoders_file_without_a_decoder_is_named_for_what_it_is():
    with pytest.raises(Misconfigured, match=r"decoder\.cls\.weight(.|\n)*It is a checkpoint of: visionfm-external"):
        checkpoints.select(EncoderFile.load(FULL), Case.open(PARITY / "visionfm").file())


def test_the_command_says_what_to_do_next(encoder, parts, tmp_path, monkeypatch):
    monkeypatch.setattr(EncoderFile, "load", lambda _name: encoder)
    body, decoder, joined = *map(str, parts), tmp_path / "new" / "joined.safetensors"
    done = CliRunner().invoke(
        app, ["join", encoder.name, "--encoder", body, "--decoder", decoder, "--out", str(joined)]
    )
    assert f"build {encoder.name} --checkpoint {joined}" in done.stdout
    assert files.digest(joined) in done.stdout
