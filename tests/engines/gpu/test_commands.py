"""What is said where there is no GPU: loudly that nothing was done, and how to go through the steps without one."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from eyestream.errors import Misconfigured
from eyestream_engines.cli import app
from eyestream_engines.compilers import tensorrt
from eyestream_engines.gpu import machine


@pytest.mark.parametrize(("arguments", "status"), [((), 0), (("--require",), 1)])
def test_without_a_gpu_it_says_loudly_what_was_not_done(arguments, status, monkeypatch, tmp_path):
    monkeypatch.setattr(tensorrt, "gpu", lambda: None)
    page = tmp_path / "gpu.md"
    done = CliRunner().invoke(app, ["gpu", *arguments, "--page", str(page)], catch_exceptions=False)
    assert done.exit_code == status
    assert "NOT RUN: nvidia-smi finds no GPU" in done.stderr
    assert "visionunite" in done.stderr
    assert not page.exists()


def test_without_tensorrt_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(tensorrt, "gpu", lambda: ("a GPU", "9.0"))
    monkeypatch.setattr(tensorrt, "installed", lambda _name: False)
    assert "pip install tensorrt" in machine.lacking()


def test_an_encoder_that_is_none_is_named():
    with pytest.raises(Misconfigured, match=r"no engine of nobody is measured on a GPU; there are: .*flair"):
        CliRunner().invoke(app, ["gpu", "nobody"], catch_exceptions=False)


def test_a_rehearsal_wants_to_know_of_what():
    with pytest.raises(Misconfigured, match="REHEARSE=eyestream-demo"):
        CliRunner().invoke(app, ["gpu", "--rehearse"], catch_exceptions=False)
