"""Checkpoint files: what is read, and what is refused with words that help."""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from eyestream.errors import Misconfigured
from eyestream_engines import files


class Runs:
    """A pickle of this runs a program when it is opened."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (exec, (f"open({str(self.mark)!r}, 'w').close()",))


def test_a_torch_file_with_the_options_of_its_training_is_read(tmp_path):
    path = tmp_path / "checkpoint.pth"
    held = {"model": {"w": torch.ones(2)}, "args": argparse.Namespace(lr=1.0), "best_auc": np.float64(0.9)}
    torch.save(held, path)
    read = files.read(path)
    assert torch.equal(read["model"]["w"], torch.ones(2))
    assert files.kind_of(path) == "torch"


def test_the_older_torch_format_is_read(tmp_path):
    path = tmp_path / "old.pth"
    torch.save({"w": torch.arange(3.0)}, path, _use_new_zipfile_serialization=False)
    assert files.kind_of(path) == "torch-legacy"
    assert torch.equal(files.read(path)["w"], torch.arange(3.0))


def test_safetensors_are_read(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"w": torch.ones(2, 3)}, path)
    assert files.kind_of(path) == "safetensors"
    assert files.read(path)["w"].shape == (2, 3)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, wrapped, zipped):
    mark, path = tmp_path / "it-ran", tmp_path / "evil.pth"
    evil = {"model": {"w": torch.ones(1)}, "args": Runs(mark)} if wrapped else Runs(mark)
    torch.save(evil, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(Misconfigured, match="can run any program") as caught:
        files.read(path)
    assert not mark.exists()
    assert "weights_only" not in str(caught.value)


def test_a_bare_pickle_that_runs_code_does_not_run(tmp_path):
    mark, path = tmp_path / "it-ran", tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(Runs(mark)))
    with pytest.raises(Misconfigured):
        files.read(path)
    assert not mark.exists()


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("kind", ["torch", "torch-legacy", "safetensors"])
def test_half_a_file_is_called_damaged(tmp_path, kind, share):
    path = tmp_path / "cut"
    weights = {"w": torch.rand(200, 50), "v": torch.rand(300)}
    if kind == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=kind == "torch")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(Misconfigured, match=r"damaged|neither") as caught:
        files.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title></html>", "web page"),
        (b"\n  <html>sign in</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"),
        (b"", "empty"),
        (b"\x00" * 100, "neither"),
        (b"weights", "neither"),
    ],
)
def test_what_is_no_checkpoint_is_called_by_its_name(tmp_path, content, told):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match=told):
        files.read(path)


def test_an_older_torch_file_is_refused_wherever_it_was_cut(tmp_path):
    whole, path = tmp_path / "whole.pth", tmp_path / "cut.pth"
    torch.save({"model": {"w": torch.ones(5, 3)}, "epoch": 300}, whole, _use_new_zipfile_serialization=False)
    content = whole.read_bytes()
    for length in range(2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(Misconfigured, match=r"damaged|not opened"):
            files.read(path)


def test_a_torch_file_that_was_compressed_is_refused_and_not_read_as_noise(tmp_path):
    whole, path = tmp_path / "whole.pth", tmp_path / "packed.pth"
    torch.save({"w": torch.arange(1000.0)}, whole)
    with zipfile.ZipFile(whole) as held, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for part in held.namelist():
            packed.writestr(part, held.read(part))
        packed.writestr("whole/data/9", np.random.default_rng(0).bytes(8000))
    with pytest.raises(Misconfigured, match="without compression"):
        files.read(path)


def test_keys_that_are_no_words_are_read_as_words(tmp_path):
    path = tmp_path / "numbered.pth"
    torch.save({0: torch.ones(1)}, path)
    assert list(files.read(path)) == ["0"]


def test_a_folder_or_nothing_at_all_is_refused(tmp_path):
    with pytest.raises(Misconfigured, match="folder"):
        files.read(tmp_path)
    with pytest.raises(Misconfigured, match="cannot be read"):
        files.read(tmp_path / "none.pth")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Misconfigured, match="a pipe or a device"):
        files.read(tmp_path / "pipe")


def test_a_file_that_holds_no_names_is_refused(tmp_path):
    path = tmp_path / "list.pth"
    torch.save([torch.ones(1)], path)
    with pytest.raises(Misconfigured, match="state_dict"):
        files.read(path)


def test_the_digest_is_the_sha256_of_the_file_and_its_progress_ends_at_all(tmp_path):
    path, seen = tmp_path / "file", []
    path.write_bytes(b"eye" * 1000)
    assert files.digest(path, lambda done, size: seen.append((done, size))) == hashlib.sha256(b"eye" * 1000).hexdigest()
    assert seen[-1] == (3000, 3000)
