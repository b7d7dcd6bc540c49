"""The back ends: which is chosen, and plans that are compiled for real where no GPU is."""

from __future__ import annotations

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
