"""`eyestream-engines head`, from files to a head's file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from eyestream.banks.head import ScoreHead
from eyestream.errors import Misconfigured
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.heads.commands import app

DIM = 2048


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def heads_in(folder):
    return [ScoreHead.load(path) for path in folder.glob("*.safetensors")]


@pytest.fixture
def labelled(tmp_path):
    rng = np.random.default_rng(2)
    labels = np.arange(30) % 3
    x = rng.standard_normal((30, DIM)).astype(np.float32)
    x[:, :3] += 3 * np.eye(3)[labels]
    path = tmp_path / "labelled.npz"
    np.savez(path, embeddings=x, labels=labels, classes=["dry", "wet", "none"])
    return path


def test_a_probe_is_fitted_and_named_by_its_digest(tmp_path, labelled):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"any file: its digest is the encoder's name")
    done = run("probe", "retinavlm", "--checkpoint", weights, "--embeddings", labelled, "--out", tmp_path / "heads")
    assert done.exit_code == 0
    assert "3 conditions" in done.output
    (head,) = heads_in(tmp_path / "heads")
    assert [judge.condition for judge in head.judges] == ["dry", "wet", "none"]
    assert head.dim == DIM


def test_embeddings_of_another_encoder_are_refused(tmp_path, labelled):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"weights")
    with pytest.raises(Misconfigured, match=r"\[n, 512\]"):
        run("probe", "flair", "--checkpoint", weights, "--embeddings", labelled, "--out", tmp_path / "heads")
    assert heads_in(tmp_path / "heads") == []


def test_a_file_without_embeddings_is_refused(tmp_path):
    (tmp_path / "not.npz").write_bytes(b"<html>")
    with pytest.raises(Misconfigured, match="does not hold"):
        run("probe", "flair", "--checkpoint", tmp_path / "not.npz", "--embeddings", tmp_path / "not.npz")


def test_the_classifier_of_a_file_becomes_a_head(tmp_path):
    case = Case.open(PARITY / "visionfm_finetuned")
    torch.save(case.file(), tmp_path / "classifier.pth")
    told = ("classifier", "visionfm-fundus-classifier", "--checkpoint", tmp_path / "classifier.pth")
    done = run(*told, "--labels", "normal, suspect, glaucoma", "--out", tmp_path / "heads")
    assert done.exit_code == 0
    (head,) = heads_in(tmp_path / "heads")
    assert [judge.condition for judge in head.judges] == ["normal", "suspect", "glaucoma"]
    assert run(*told, "--labels", "normal, suspect, glaucoma", "--out", tmp_path / "heads").output == done.output


def test_a_model_without_texts_is_not_asked_any(tmp_path):
    with pytest.raises(Misconfigured, match="reads no texts"):
        run(
            *("text", "retfiner-retfound", "--checkpoint", tmp_path / "no.pth"),
            *("--programme", "demo", "--vocabulary", tmp_path / "vocab.txt"),
        )
