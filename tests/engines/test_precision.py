"""Graphs made strongly typed FP16: what is where, and that the rounding is FP16's."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from eyestream.errors import Misconfigured
from eyestream_engines import gates, precision
from eyestream_engines.export import Engine, save, to_graph
from eyestream_engines.families import family_of
from eyestream_engines.inference import embed

HALF, FULL = ir.DataType.FLOAT16, ir.DataType.FLOAT


@pytest.fixture(scope="module")
def network(tiny, tiny_weights):
    return family_of(tiny).module(tiny, tiny_weights)


@pytest.fixture(scope="module")
def full_path(tiny, network, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "full.onnx"
    save(to_graph(tiny, Engine(tiny, network)), path)
    return path


@pytest.fixture
def half(full_path):
    model = ir.load(full_path)
    precision.halve(model)
    return model


def test_the_fp32_graph_says_what_torch_says_in_every_batch_size(tiny, network, full_path):
    pixels = gates.pictures(tiny.input, 5)
    with torch.inference_mode():
        wanted = Engine(tiny, network)(torch.from_numpy(pixels)).numpy()
    for batch in (1, 2, 5):
        assert gates.graph(wanted, embed(full_path, pixels, batch=batch), tiny).passed


def test_every_tensor_has_the_type_its_readers_need(half, tmp_path):
    path = tmp_path / "half.onnx"
    save(half, path)
    onnx.checker.check_model(path, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(onnx.load(path), check_type=True, strict_mode=True)
    assert [output.type.tensor_type.elem_type for output in inferred.graph.output] == [onnx.TensorProto.FLOAT16]
    assert [given.type.tensor_type.elem_type for given in inferred.graph.input] == [onnx.TensorProto.UINT8]


def test_products_are_fp16_and_islands_are_fp32(half):
    kinds = {
        (node.op_type, value.dtype)
        for node in half.graph
        for value in node.inputs
        if value and value.dtype in (HALF, FULL)
    }
    for product in ("MatMul", "Conv"):
        assert (product, HALF) in kinds
        assert (product, FULL) not in kinds
    for island in ("LayerNormalization", "Softmax", "ReduceMean"):
        assert (island, FULL) in kinds
        assert (island, HALF) not in kinds


def test_what_normalises_before_and_what_pools_after_the_products_is_fp32(half):
    nodes = list(half.graph)
    products = [place for place, node in enumerate(nodes) if node.op_type in precision.PRODUCTS]
    before, after = nodes[: products[0]], nodes[products[-1] + 1 :]
    assert {"Sub", "Div"} <= {node.op_type for node in before}
    for node in (*before, *after):
        if node.op_type in {"Sub", "Div", "ReduceMean", "LayerNormalization"}:
            assert {value.dtype for value in node.outputs} == {FULL}


def test_nearly_all_weights_are_fp16(half):
    count = precision.count(half)
    assert count["FLOAT16"] > 20 * count["FLOAT"]


def test_a_halved_graph_stays_within_the_bounds_and_rounds_more_than_its_weights(tiny, network, half, tmp_path):
    served, rounded = tmp_path / "half.onnx", tmp_path / "rounded.onnx"
    save(half, served)
    emulated = ir.load(served)
    precision.emulate(emulated)
    save(emulated, rounded)
    pixels = gates.pictures(tiny.input)
    with torch.inference_mode():
        wanted = Engine(tiny, network)(torch.from_numpy(pixels)).numpy()
    weights_only = gates.half("served", wanted, embed(served, pixels), tiny)
    everything = gates.half("rounded", wanted, embed(rounded, pixels), tiny)
    assert weights_only.passed, weights_only.told()
    assert everything.passed, everything.told()
    assert everything.absolute > weights_only.absolute


def test_a_weight_that_fp16_cannot_hold_is_refused(full_path):
    model = ir.load(full_path)
    name = next(name for name, value in model.graph.initializers.items() if value.const_value.size > 4000)
    large = model.graph.initializers[name].const_value.numpy().copy()
    large.flat[7] = 1e5
    model.graph.initializers[name].const_value = ir.tensor(large, name=name)
    with pytest.raises(Misconfigured, match="needs FP32"):
        precision.halve(model)


def test_the_emulated_rounding_is_that_of_fp16():
    rng = np.random.default_rng(0)
    numbers = (rng.standard_normal(5000) * 10.0 ** rng.integers(-4, 4, 5000)).astype(np.float32)
    numbers = numbers[np.abs(numbers) > 1e-4]
    found = _run(_adding(), numbers.astype(np.float16), numbers[::-1].astype(np.float16))
    exact = numbers.astype(np.float16).astype(np.float32) + numbers[::-1].astype(np.float16).astype(np.float32)
    wanted = exact.astype(np.float16).astype(np.float32)
    normal = np.abs(wanted) > 1e-4
    assert np.array_equal(found[normal], wanted[normal])


def test_numbers_beyond_fp16_become_the_largest_there_is():
    large = np.full(3, 60000, np.float16)
    assert np.array_equal(_run(_adding(), large, large), np.full(3, 65504, np.float32))


def _adding():
    """Two FP16 vectors added, as a graph that was halved and is emulated."""
    values = [ir.Value(name=name, type=ir.TensorType(HALF), shape=ir.Shape(["n"])) for name in ("a", "b")]
    node = ir.Node("", "Add", values, num_outputs=1)
    node.outputs[0].name, node.outputs[0].dtype, node.outputs[0].shape = "sum", HALF, ir.Shape(["n"])
    model = ir.Model(
        ir.Graph(values, [node.outputs[0]], nodes=[node], opset_imports={"": 18}, name="adding"), ir_version=9
    )
    precision.emulate(model)
    for value in model.graph.inputs:
        value.dtype = FULL
    return model


def _run(model, one, other):
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"a": one.astype(np.float32), "b": other.astype(np.float32)})
    return found
