"""`eyestream-engines` as a person uses it."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

from eyestream.errors import Misconfigured
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.cli import app
from eyestream_engines.spec import names


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_list_names_every_encoder_with_its_licence():
    told = run("list").stdout
    for name in names():
        assert name in told
    assert "CC-BY-NC-4.0" in told


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
