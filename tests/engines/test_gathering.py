"""A model hub's shards made one checkpoint, which an engine is built from."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from eyestream.errors import Misconfigured
from eyestream_engines import checkpoints, files, joining
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.cli import app
from eyestream_engines.spec import EncoderFile


@pytest.fixture(scope="module")
def whole():
    return Case.open(PARITY / "retinavlm").tensors()


@pytest.fixture
def shards(whole, tmp_path):
    """As transformers cuts it: the eye first, its projection last, and the quantised language model in between."""
    folder = tmp_path / "RetinaVLM-Specialist"
    folder.mkdir()
    words = {f"model.llm.model.layers.{n}.weight": torch.full((4, 4), n, dtype=torch.int8) for n in range(2)}
    last = {name for name in whole if "llama_proj" in name}
    first = {name: value for name, value in whole.items() if name not in last}
    save_file(first | {name: words[name] for name in list(words)[:1]}, folder / "model-00001-of-00002.safetensors")
    rest = {name: whole[name] for name in last} | {name: words[name] for name in list(words)[1:]}
    save_file(rest, folder / "model-00002-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text("{}")
    return folder


def test_shards_are_gathered_to_what_the_encoder_reads(shards, whole, tmp_path):
    encoder, output = EncoderFile.load("retinavlm"), tmp_path / "new" / "retina vlm.safetensors"
    done = CliRunner().invoke(app, ["gather", "retinavlm", str(shards), "--output", str(output)])
    assert f"build retinavlm --checkpoint '{output}'" in done.stdout
    assert files.digest(output) in done.stdout
    kept = checkpoints.read(encoder, output).tensors
    assert {f"model.{name}" for name in kept} == {name for name in whole if not name.endswith("num_batches_tracked")}
    assert all(torch.equal(value, whole[f"model.{name}"]) for name, value in kept.items())
    assert not any("llm" in name for name in load_file(output))
    assert joining.gather(encoder, shards, tmp_path / "again.safetensors") == files.digest(output)


def test_a_shard_that_is_missing_is_told_with_its_keys(shards, tmp_path):
    (shards / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(Misconfigured, match="2 missing: llama_proj"):
        joining.gather(EncoderFile.load("retinavlm"), shards, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_shards_of_two_checkpoints_are_not_mixed(shards, tmp_path):
    save_file({"model.llama_proj.bias": torch.zeros(4096)}, shards / "other.safetensors")
    with pytest.raises(Misconfigured, match=r"model\.llama_proj\.bias once more"):
        joining.gather(EncoderFile.load("retinavlm"), shards, tmp_path / "out.safetensors")


def test_what_is_gathered_never_lies_among_the_shards(shards, tmp_path):
    first = shards / "model-00001-of-00002.safetensors"
    before = files.digest(first)
    with pytest.raises(Misconfigured, match="among the shards"):
        joining.gather(EncoderFile.load("retinavlm"), shards, first)
    assert files.digest(first) == before
    with pytest.raises(Misconfigured, match=r"holds no \*\.safetensors"):
        joining.gather(EncoderFile.load("retinavlm"), tmp_path, tmp_path / "new" / "out.safetensors")
