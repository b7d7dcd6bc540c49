"""`eyestream-engines` as a person uses it."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from eyestream.errors import Misconfigured
from eyestream_engines import files, scaling
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.cli import app
from eyestream_engines.spec import EncoderFile, Published, names


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_list_names_every_encoder_with_its_licence():
    told = run("list").stdout
    for name in names():
        assert name in told
    assert "CC-BY-NC-4.0" in told


def test_list_is_a_line_for_each_encoder_where_another_program_reads_it():
    told = run("list").stdout.splitlines()
    assert [line.split()[0] for line in told] == ["encoder", *names()]
    assert any("RetinaVLM's eye" in line and line.rstrip().endswith("not used here") for line in told)
    assert any("FAF, SLIT-LAMP, ULTRASOUND" in line for line in told)


def test_describe_tells_what_a_person_must_know_beside_the_fields():
    told = run("describe", "retinavlm").stdout
    assert "note                             Holland et al." in told
    assert "must be brought to that scale and size before." in told
    assert "apply it twice before the head, which changes their logits" in run("describe", "retfound-classifier").stdout


def test_a_fault_is_not_broken_where_a_file_takes_it(tmp_path):
    missing = tmp_path / "a folder whose name is long enough to be broken at one of its many blanks" / "weights.pth"
    command = (sys.executable, "-m", "eyestream_engines.cli", "inspect", missing)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"eyestream-engines: {missing} cannot be read: No such file or directory\n"


def test_describe_says_where_the_weights_are_and_how_they_are_pooled():
    told = run("describe", "retfound-cfp").stdout
    assert "https://huggingface.co/YukunZhou" in told
    assert "raw-patch-mean-norm" in told
    assert "tolerance.original               0.0001" in told


def test_describe_of_nobody_names_those_there_are():
    with pytest.raises(Misconfigured, match="retfound-green"):
        run("describe", "nobody")


def test_inspect_names_the_format_and_what_is_missing(tmp_path):
    path = tmp_path / "weights.pth"
    weights = Case.open(PARITY / "retfound_green").tensors()
    torch.save(weights, path)
    told = run("inspect", path).stdout
    assert "175 tensors of 21.83 M numbers (float32)" in told
    assert "format of      retfound-green" in told
    del weights["reg_token"]
    torch.save(weights, path)
    told = run("inspect", path).stdout
    assert "no encoder known here" in told
    assert "closest        retfound-green: 174 keys fit" in told
    assert "1 missing: reg_token" in told


def test_inspect_says_when_the_file_is_one_that_was_published(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    torch.save(Case.open(PARITY / "retfound_green").tensors(), path)
    assert "published as" not in run("inspect", path).stdout
    monkeypatch.setattr(Published, "holds", lambda _, digest: digest == files.digest(path))
    assert "published as   retfound-green" in run("inspect", path).stdout


def test_build_says_when_nothing_held_the_network_against_its_original(tiny, tiny_weights, tmp_path, monkeypatch):
    torch.save({"model": tiny_weights}, tmp_path / "weights.pth")
    monkeypatch.setattr(EncoderFile, "load", lambda _: tiny)
    told = (
        "build",
        "tiny",
        "--checkpoint",
        tmp_path / "weights.pth",
        "--output",
        tmp_path,
        "--compiler",
        "onnxruntime",
    )
    assert "not compared   there are no numbers of its original" in run(*told).stdout


def test_build_refuses_a_file_that_is_no_checkpoint(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"<html>sign in</html>")
    with pytest.raises(Misconfigured, match="web page"):
        run("build", "retfound-green", "--checkpoint", path, "--output", tmp_path, "--compiler", "onnxruntime")


@pytest.mark.parametrize(("compiler", "compute"), [("onnxruntime", "8.9"), ("auto", "8.9"), ("tensorrt-rtx", "ada")])
def test_a_capability_that_nothing_would_be_compiled_for_is_refused_at_once(tmp_path, compiler, compute):
    with pytest.raises(Misconfigured, match=f"--compute {compute}: give a capability"):
        run("build", "eyestream-demo", "--output", tmp_path, "--compiler", compiler, "--compute", compute)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_ours_to_ship_must_be_named(tmp_path):
    with pytest.raises(Misconfigured, match=r"not ours to ship: https://huggingface\.co"):
        run("build", "retfound-cfp", "--output", tmp_path, "--compiler", "onnxruntime")


@pytest.fixture
def photographs(tmp_path):
    """A folder with one photograph as a camera held upright writes it."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    picture = Image.open(io.BytesIO(scaling.drawn([(1224, 1632)])[0]))
    picture.save(folder / "EYE.JPG", quality=90, exif=turned)
    return folder


def test_scaling_compares_a_turned_photograph_with_itself_turned(photographs):
    told = run("scaling", "eyestream-demo", "--pictures", photographs).stdout
    _, name, levels, *_ = (part.strip() for part in told.split("|"))
    assert name == "eyestream-demo"
    assert 0 < float(levels) < 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("octcube", "flair"), "octcube reads volumes"),
        (("revision-retclip",), "revision-retclip has neither weights"),
        (("flair", "--page", "nowhere/page.md"), "nowhere/page.md cannot be written"),
        (("flair", "--pictures", "nowhere"), "nowhere is no folder"),
    ],
)
def test_scaling_says_before_it_begins_what_it_cannot_do(arguments, told):
    with pytest.raises(Misconfigured, match=told):
        run("scaling", *arguments)
