"""`eyestream-engines trial`: an encoder that nobody has calibrated, ready for the demonstration."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil

import pytest
import torch
from typer.testing import CliRunner

from eyestream.apps.local import Stack
from eyestream.apps.trial import BANKS, FILE, PROGRAMME, REPOSITORY, Trial, warning
from eyestream.banks.head import ScoreHead
from eyestream.banks.shelf import Shelf
from eyestream.encoders.triton import TritonEncoder
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream.scoring import score
from eyestream_engines import gates, trial
from eyestream_engines.cases import fill
from eyestream_engines.cli import app
from eyestream_engines.families import family_of
from eyestream_engines.spec import EncoderFile, names

ASKED = trial.Asked(Programme.builtin("demo"))


@pytest.fixture(scope="module")
def classifier(tiny):
    """The tiny encoder with a classifier of three classes in its file."""
    changed = tiny.architecture.model_copy(update={"classifier": "linear"})
    return tiny.model_copy(update={"architecture": changed})


@pytest.fixture(scope="module")
def checkpoint(classifier, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    keys = family_of(classifier).expected(classifier)
    shapes = {name: [3 if side is None else side for side in want.shape] for name, want in keys.items()}
    weights = {name: torch.from_numpy(fill(name, shape, "float32", 0)) for name, shape in shapes.items()}
    torch.save(weights, path)
    return path


@pytest.fixture(scope="module")
def made(classifier, checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    asked = dataclasses.replace(ASKED, labels=("normal", "glaucoma", "cataract"))
    trial.make(classifier, checkpoint, asked, folder)
    return folder


def test_what_triton_serves_is_scored_by_the_bank_and_reaches_no_operating_point(classifier, made):
    told = Trial.read(made)
    programme = Programme.load(made / PROGRAMME)
    bank = Shelf(made / BANKS).current(programme.name)
    pixels = gates.pictures(classifier.input, 4)

    async def ask(address):
        encoder = await TritonEncoder.connect(address, told.model, timeout_s=60)
        try:
            return encoder.spec, await encoder.encode(pixels)
        finally:
            await encoder.close()

    with Stack(made / "state", model_repository=made / REPOSITORY, parts=("triton",)) as stack:
        spec, vectors = asyncio.run(ask(stack.up().triton_grpc))
    assert bank.head.provenance.encoder == spec.digest
    judgements = score(bank.head, vectors)
    assert {f.condition for f in judgements[0].findings} == {"normal", "glaucoma", "cataract"}
    assert not any(finding.positive for judgement in judgements for finding in judgement.findings)
    assert not programme.decides
    assert "nobody has measured operating points" in warning(told)


def test_a_second_call_builds_nothing(classifier, checkpoint, made):
    asked = dataclasses.replace(ASKED, labels=("normal", "glaucoma", "cataract"))
    assert not trial.make(classifier, checkpoint, asked, made)[1].fresh


def test_a_bank_of_another_checkpoint_does_not_keep_the_line_from_starting(classifier, checkpoint, made, tmp_path):
    old = Shelf(made / BANKS).current(f"{classifier.name}-uncalibrated")
    other = ScoreHead(
        old.head.views, old.head.rows, old.head.judges, dataclasses.replace(old.head.provenance, encoder="a" * 64)
    )
    asked = Programme.parse(old.programme.text.replace(old.programme.name, "asked-before"), source="before")
    shelf = Shelf(tmp_path / BANKS)
    shelf.publish(asked, other)
    shelf.activate(asked.name, other.digest)
    labelled = dataclasses.replace(ASKED, labels=("normal", "glaucoma", "cataract"))
    with pytest.raises(Misconfigured, match="is there, and is no trial's: name another folder"):
        trial.make(classifier, checkpoint, labelled, tmp_path)
    assert shelf.current(asked.name).head.digest == other.digest
    shutil.copy(made / FILE, tmp_path)
    trial.make(classifier, checkpoint, labelled, tmp_path)
    opened = Shelf(tmp_path / BANKS).open(old.head.provenance.encoder, old.head.provenance.preprocessing)
    assert list(opened) == [old.programme.name]


def test_a_head_of_another_checkpoint_is_refused(classifier, checkpoint, made, tmp_path):
    programme = Programme.load(made / PROGRAMME)
    head = Shelf(made / BANKS).current(programme.name).head
    other = dataclasses.replace(head.provenance, encoder="a" * 64)
    path = ScoreHead(head.views, head.rows, head.judges, other).save(tmp_path)
    with pytest.raises(Misconfigured, match="make a head of this checkpoint"):
        trial.make(classifier, checkpoint, dataclasses.replace(ASKED, head=path), made)


@pytest.mark.parametrize(
    ("origin", "told"),
    [({"encoder": "a" * 64}, "this checkpoint"), ({"preprocessing": "b" * 64}, "prepared otherwise")],
)
def test_a_head_that_the_line_would_refuse_is_told_before_anything_long(
    classifier, checkpoint, made, tmp_path, origin, told
):
    head = Shelf(made / BANKS).current(f"{classifier.name}-uncalibrated").head
    other = ScoreHead(head.views, head.rows, head.judges, dataclasses.replace(head.provenance, **origin))
    with pytest.raises(Misconfigured, match=told):
        trial.make(classifier, checkpoint, dataclasses.replace(ASKED, head=other.save(tmp_path)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def run(*arguments):
    return CliRunner().invoke(app, ["trial", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nobody",), "there is no encoder"),
        (("flair",), "not ours to ship"),
        (("octcube",), "reads volumes"),
        (("visionfm-fundus-segmentation",), "gives masks"),
        (("retfound-cfp",), r"holds no classifier(.|\n)*head probe retfound-cfp"),
        (("eyestream-demo",), "make demo"),
        (("retfound-classifier",), "LABELS=a,b,c"),
        (("retfound-classifier", "--labels", "No DR,dr"), "not 'No DR'"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_anything_long(arguments, told, tmp_path):
    with pytest.raises(Misconfigured, match=told):
        run(*arguments, "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_vocabulary_is_named_with_where_to_put_it(tmp_path):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"any file")
    with pytest.raises(Misconfigured, match=r"vocab\.txt of bert-base-cased(.|\n)*VOCABULARY=FILE"):
        run("flair", "--checkpoint", weights, "--out", tmp_path / "out")


def test_a_wrong_vocabulary_is_told_before_anything_long(tmp_path):
    weights, vocabulary = tmp_path / "weights.pth", tmp_path / "vocab.txt"
    weights.write_bytes(b"any file")
    vocabulary.write_text("[PAD]\n")
    with pytest.raises(Misconfigured, match=r"vocab\.txt is another vocabulary"):
        run("flair", "--checkpoint", weights, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_encoder_is_scored_by_texts_by_its_classifier_or_by_a_probe():
    found = {name: trial.scores_from(EncoderFile.load(name)) for name in names()}
    assert found["flair"] == found["ret-clip"] == found["eyeclip"] == found["vilref"] == "texts"
    assert found["visionunite"] == found["retfound-classifier"] == found["octcube-multitask"] == "classifier"
    assert found["retfound-cfp"] == found["octcube"] == ""
    assert found["visionfm-fundus-segmentation"] == "mask"
