"""The back ends: which is chosen, and plans that are compiled for real where no GPU is."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eyestream.errors import Misconfigured
from eyestream_engines import building, compilers
from eyestream_engines.compilers import tensorrt


def test_an_unknown_compiler_is_refused_with_those_there_are():
    with pytest.raises(Misconfigured, match="onnxruntime, tensorrt, tensorrt-rtx"):
        compilers.choose("tvm")


@pytest.mark.skipif(tensorrt.gpu() is not None, reason="this machine has a GPU")
def test_without_a_gpu_the_processor_is_chosen():
    target = compilers.choose("auto").target
    assert (target.compiler, target.gpu, target.compute) == ("onnxruntime", "", "")


@pytest.mark.skipif(tensorrt.installed("tensorrt"), reason="TensorRT is installed here")
def test_a_compiler_that_is_not_installed_says_how_to_get_it():
    with pytest.raises(Misconfigured, match="pip install tensorrt"):
        compilers.choose("tensorrt")


def test_a_plan_for_rtx_is_compiled_without_a_gpu_beside_what_triton_serves(tiny, tiny_weights, tmp_path):
    checkpoint = tmp_path / "tiny.pth"
    torch.save(tiny_weights, checkpoint)
    compiler = compilers.choose("tensorrt-rtx", compute="8.9")
    shares = []
    built = building.build(
        tiny,
        checkpoint,
        tmp_path / "repository",
        compiler=compiler,
        told=lambda step, share: shares.append((step, share)),
    )
    told = built.manifest
    (plan,) = built.folder.glob(f"*/{tensorrt.RTX_PLAN}")
    assert plan.stat().st_size == told["compiled"]["bytes"] > 10_000
    version = plan.parent.name
    assert told["files"].keys() == {f"{version}/model.onnx", f"{version}/model.rtx", "config.pbtxt"}
    assert told["target"] == {
        "compiler": "tensorrt-rtx",
        "version": compiler.target.version,
        "gpu": compiler.target.gpu,
        "compute": "8.9",
    }
    assert 'backend: "onnxruntime"' in (built.folder / "config.pbtxt").read_text()
    assert told["run_here"] == (tensorrt.gpu() is not None)
    assert any(step == "compiling" and share > 0 for step, share in shares)


def test_a_graph_that_cannot_be_compiled_is_told_with_the_compilers_own_words(tiny, tmp_path):
    graph = tmp_path / "work" / "model.onnx"
    graph.parent.mkdir()
    graph.write_bytes(b"no graph")
    compiler = compilers.choose("tensorrt-rtx", compute="8.9")
    with pytest.raises(Misconfigured, match="refused the graph"):
        compiler.compile(graph, tiny, tmp_path / "model" / "1" / "model.onnx", lambda *_: None)


def test_a_compiler_that_says_much_on_its_way_out_is_heard_to_the_end(tiny, tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c \'import sys; sys.exit(200_000 * "x" + " at last")\'\n')
    program.chmod(0o755)
    compiler = compilers.choose("tensorrt-rtx", compute="8.9")
    graph = tmp_path / "model.onnx"
    graph.touch()
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(Misconfigured, match=r"refused the graph\n(.|\n)*at last"):
        compiler.compile(graph, tiny, tmp_path / "model" / "1" / "model.onnx", lambda *_: None)


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """An nvidia-smi of two cards, which answers for the one that it is asked for."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        '  *--id=1*|*--id=GPU-b*) echo "NVIDIA H100, 9.0" ;;\n'
        '  *--id=7*) echo "No devices were found"; exit 6 ;;\n'
        '  *) echo "Tesla T4, 7.5"; echo "NVIDIA H100, 9.0" ;;\nesac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


@pytest.mark.parametrize(
    ("visible", "card"),
    [
        (None, ("Tesla T4", "7.5")),
        ("1", ("NVIDIA H100", "9.0")),
        ("GPU-b,GPU-a", ("NVIDIA H100", "9.0")),
        ("7", None),
        ("", None),
        ("-1", None),
    ],
)
def test_the_card_is_the_first_that_the_process_may_use(cards, monkeypatch, visible, card):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert tensorrt.gpu() == card


def test_a_plan_of_another_gpu_is_told(cards, tmp_path, monkeypatch):
    faketrt = SimpleNamespace(
        Logger=type("Logger", (), {"ERROR": 1, "__init__": lambda _self, _level: None}),
        Runtime=lambda _logger: SimpleNamespace(deserialize_cuda_engine=lambda _plan: None),
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    card = compilers.choose("tensorrt-rtx")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", faketrt)
    (tmp_path / tensorrt.RTX_PLAN).write_bytes(b"of another GPU")
    plan = tmp_path / "model.onnx"
    with pytest.raises(Misconfigured, match="another GPU or another TensorRT; build it again"):
        card.run(plan, np.zeros((1, 2, 2, 3), np.uint8), batch=1)
