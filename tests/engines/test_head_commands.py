"""`eyestream-engines head`, from files to a head's file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from eyestream.banks.head import ScoreHead
from eyestream.banks.shelf import Shelf
from eyestream.errors import Misconfigured
from eyestream.scoring import score
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.heads.commands import app

DIM = 2048
STAGES = """
schema_version = 1
name = "stages"
title = "Stages"
scoring = { operating_point = "sensitive" }
urgencies = [{ name = "soon", title = "Soon", rank = 1, within_days = 14 }]
retention = { results_days = 30, embeddings_days = 30 }

[[conditions]]
id = "wet"
title = "Wet"
positive = ["wet"]
urgency = "soon"
thresholds = { sensitive = 0.2, balanced = 0.4 }
calibration = { a = 2.0, b = 0.25 }

[[conditions]]
id = "none"
title = "None"
positive = ["none"]
thresholds = { sensitive = 0.9 }

[[conditions]]
id = "dry"
title = "Cannot be judged"
role = "quality"
positive = ["dry"]
thresholds = { sensitive = 0.7 }
"""


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def log_odds(probability):
    return np.log(probability / (1 - probability))


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


@pytest.fixture
def stages(tmp_path):
    path = tmp_path / "stages.toml"
    path.write_text(STAGES)
    return path


def test_a_probe_is_published_with_its_programmes_points_and_put_into_service(tmp_path, labelled, stages):
    shelf = tmp_path / "a shelf"
    told = ("probe", "retinavlm", "--checkpoint", labelled, "--embeddings", labelled, "--out", tmp_path / "heads")
    done = run(*told, "--programme", stages, "--shelf", shelf)
    assert f"eyestream bank activate stages {Shelf(shelf).published('stages')[0].head[:12]} --shelf '" in done.output
    assert Shelf(shelf).current("stages") is None
    done = run(*told, "--programme", stages, "--shelf", shelf, "--activate")
    assert "in service" in done.output
    assert "must have been measured with this very checkpoint" in done.output
    bank = Shelf(shelf).current("stages")
    wet, none, dry = bank.head.judges
    assert (wet.condition, wet.threshold, wet.a, wet.c) == ("wet", 0.2, 2.0, 0.25)
    assert (none.condition, none.threshold) == ("none", 0.9)
    assert (dry.condition, dry.role, dry.threshold) == ("dry", "quality", 0.7)
    assert not (tmp_path / "heads").exists()


def test_a_programme_that_decides_nothing_is_published_without_a_word_of_operating_points(tmp_path, labelled, stages):
    stages.write_text(stages.read_text().replace('title = "Stages"', 'title = "Stages"\ndecides = false'))
    told = ("probe", "retinavlm", "--checkpoint", labelled, "--embeddings", labelled, "--programme", stages)
    assert "operating points" not in run(*told, "--shelf", tmp_path / "shelf").output


def test_a_programme_calibrates_its_own_condition_whatever_their_order(tmp_path, labelled, stages):
    told = ("probe", "retinavlm", "--checkpoint", labelled, "--embeddings", labelled, "--out")
    run(*told, tmp_path / "plain")
    run(*told, tmp_path / "ordered", "--programme", stages)
    (plain,), (ordered,) = heads_in(tmp_path / "plain"), heads_in(tmp_path / "ordered")
    with np.load(labelled) as stored:
        x = stored["embeddings"][:4]
    for one, other in zip(score(plain, x), score(ordered, x), strict=True):
        before = {finding.condition: finding.probability for finding in one.findings}
        after = {finding.condition: finding.probability for finding in (*other.findings, *other.quality)}
        assert after["none"] == before["none"]
        assert after["dry"] == before["dry"]
        assert log_odds(after["wet"]) == pytest.approx(2 * log_odds(before["wet"]) + 0.25, abs=0.1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ("--programme", "demo", "--shelf", "shelf"),
            "were measured with another encoder: write a programme of your own",
        ),
        (("--programme", "demo"), "the classes are dry, wet, none, and the conditions of 'demo'"),
        (("--shelf", "shelf"), "name its file, --programme"),
        (("--programme", "stages.toml", "--activate"), "name the shelf, --shelf"),
        (("--programme", "stages.toml", "--shelf", "stages.toml"), "cannot be written to stages.toml"),
    ],
)
def test_what_makes_no_bank_is_refused_in_words(tmp_path, monkeypatch, labelled, stages, options, told):
    monkeypatch.chdir(stages.parent)
    with pytest.raises(Misconfigured, match=told):
        run("probe", "retinavlm", "--checkpoint", labelled, "--embeddings", labelled, *options)
    assert not (tmp_path / "shelf").exists()
    assert not (tmp_path / "heads").exists()


def test_a_wrong_vocabulary_is_told_before_gigabytes_are_read(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    with pytest.raises(Misconfigured, match="another vocabulary"):
        run(
            *("text", "flair", "--checkpoint", tmp_path / "no.pth"),
            *("--programme", "demo", "--vocabulary", tmp_path / "vocab.txt"),
        )


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


def spoiled(x):
    x[4, 7] = np.nan
    return x


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"embeddings": spoiled}, "not finite numbers, the first in row 4"),
        ({"embeddings": lambda x: x.astype(np.float64) * 1e300}, "not finite"),
        ({"embeddings": lambda x: x + 1j}, "not finite"),
        ({"labels": lambda y: y - 1}, "has labels -1; they are places in classes, 0 to 2"),
        ({"labels": lambda y: y + 0.5}, "has labels 0.5"),
        ({"labels": lambda y: np.where(y == 1, np.nan, y)}, "has labels nan"),
        ({"labels": lambda y: y * 0, "classes": lambda _: np.array(["dry"])}, "needs two or more"),
        ({"classes": lambda _: np.array(["dry", "", "none"])}, "each with a name"),
        ({"classes": lambda _: np.array(["œd\u00e8me", "œde\u0300me", "none"])}, "there twice"),
    ],
)
def test_what_no_probe_can_be_fitted_on_is_refused_in_words(tmp_path, labelled, change, told):
    with np.load(labelled) as stored:
        arrays = {name: change.get(name, lambda kept: kept)(stored[name]) for name in stored.files}
    np.savez(labelled, **arrays)
    with pytest.raises(Misconfigured, match=told):
        run("probe", "retinavlm", "--checkpoint", labelled, "--embeddings", labelled, "--out", tmp_path / "heads")
    assert heads_in(tmp_path / "heads") == []


def test_labels_of_bytes_are_names_and_not_their_quotation(tmp_path, labelled):
    with np.load(labelled) as stored:
        arrays = {name: stored[name] for name in stored.files} | {"classes": np.array([b"dry", b"wet", b"none"])}
    np.savez(labelled, **arrays)
    run("probe", "retinavlm", "--checkpoint", labelled, "--embeddings", labelled, "--out", tmp_path / "heads")
    (head,) = heads_in(tmp_path / "heads")
    assert [judge.condition for judge in head.judges] == ["dry", "wet", "none"]


def test_half_a_file_of_embeddings_and_one_array_alone_are_refused(tmp_path, labelled):
    half, alone = tmp_path / "half.npz", tmp_path / "alone.npy"
    half.write_bytes(labelled.read_bytes()[:-100])
    np.save(alone, np.zeros((3, DIM)))
    for path in (half, alone):
        with pytest.raises(Misconfigured, match="does not hold"):
            run("probe", "retinavlm", "--checkpoint", labelled, "--embeddings", path)


def test_a_place_that_takes_no_head_is_told(tmp_path, labelled):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(Misconfigured, match="cannot be written"):
        run("probe", "retinavlm", "--checkpoint", labelled, "--embeddings", labelled, "--out", tmp_path / "file")


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
