"""What is done on a GPU, tried with the processor's compiler; and what is said where there is none."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from eyestream.errors import Misconfigured
from eyestream_engines import compilers, gpu
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.cli import app
from eyestream_engines.compilers import tensorrt
from eyestream_engines.compilers.onnx import OnnxRuntime


def read(compiler):
    case = Case.open(PARITY / "octcube_toy")
    return list(gpu.readings(case.encoders[0], case, case.file(), compiler, told=lambda _step, _share: None))


def test_a_plan_is_compiled_and_held_against_torch():
    *graphs, plan = read(compilers.choose("onnxruntime"))
    assert len(graphs) == 2
    assert plan.gate == gpu.ENGINE
    assert plan.passed, plan.told()


def test_a_plan_that_answers_something_else_is_beyond_its_bounds():
    class Turned(OnnxRuntime):
        def run(self, engine, pictures, *, batch):
            return super().run(engine, pictures, batch=batch)[::-1].copy()

    assert not read(Turned())[-1].passed


def test_a_plan_that_this_machine_cannot_run_is_not_called_held():
    class Elsewhere(OnnxRuntime):
        def run(self, engine, pictures, *, batch):
            return None

    with pytest.raises(Misconfigured, match="cannot be run on this machine"):
        read(Elsewhere())


@pytest.mark.parametrize(("arguments", "status"), [((), 0), (("--require",), 1)])
def test_without_a_gpu_it_says_loudly_what_was_not_done(arguments, status, monkeypatch):
    monkeypatch.setattr(tensorrt, "gpu", lambda: None)
    done = CliRunner().invoke(app, ["gpu", *arguments], catch_exceptions=False)
    assert done.exit_code == status
    assert "NOT RUN: nvidia-smi finds no GPU" in done.stderr
    assert "visionunite" in done.stderr


def test_without_tensorrt_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(tensorrt, "gpu", lambda: ("a GPU", "9.0"))
    monkeypatch.setattr(tensorrt, "installed", lambda _name: False)
    assert "pip install tensorrt" in gpu.lacking()
