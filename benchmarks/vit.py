"""A ViT-Ti/16 with random weights as an ONNX graph in a model repository: the arithmetic of one, and no knowledge."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from google.protobuf import text_format
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import model_config_pb2 as pb

from eyestream.decoding import Preprocessing
from eyestream.encoders.triton import version_of
from eyestream.records import Digest

NAME: Final = "vit-ti"
SIZE, PATCH, DIM, DEPTH, HEADS, HIDDEN = 224, 16, 192, 12, 3, 768
TOKENS: Final = (SIZE // PATCH) ** 2 + 1


class Graph:
    """Nodes and weights as they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def constant(self, value: object, kind: type = np.float32) -> str:
        """A tensor of the graph; its name."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def random(self, *shape: int) -> str:
        """A weight."""
        return self.constant(self._random.normal(0, 0.02, shape))

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        """A node; the name of its output."""
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def norm(self, x: str) -> str:
        """Layer normalisation over the last axis."""
        return self.add("LayerNormalization", x, self.constant(np.ones(DIM)), self.constant(np.zeros(DIM)), axis=-1)

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        """x·W + b."""
        return self.add("Add", self.add("MatMul", x, self.random(inputs, outputs)), self.constant(np.zeros(outputs)))

    def heads(self, x: str, perm: list[int]) -> str:
        """[n, tokens, dim] → heads apart, axes in the order of `perm`."""
        shape = self.constant([0, TOKENS, HEADS, DIM // HEADS], np.int64)
        return self.add("Transpose", self.add("Reshape", x, shape), perm=perm)

    def attention(self, x: str) -> str:
        """Self-attention over all tokens."""
        query, value = (self.heads(self.linear(x, DIM, DIM), [0, 2, 1, 3]) for _ in range(2))
        key = self.heads(self.linear(x, DIM, DIM), [0, 2, 3, 1])
        scaled = self.add("Mul", self.add("MatMul", query, key), self.constant((DIM // HEADS) ** -0.5))
        mixed = self.add("MatMul", self.add("Softmax", scaled, axis=-1), value)
        joined = self.add("Reshape", self.add("Transpose", mixed, perm=[0, 2, 1, 3]), self.constant([0, 0, -1], int))
        return self.linear(joined, DIM, DIM)

    def tokens(self, pixels: str) -> str:
        """uint8 pictures, channels last → normalised patches with a class token and positions."""
        planes = self.add("Transpose", self.add("Cast", pixels, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
        scaled = self.add("Mul", self.add("Sub", planes, self.constant(127.5)), self.constant(1 / 127.5))
        patches = self.add("Conv", scaled, self.random(DIM, 3, PATCH, PATCH), strides=[PATCH, PATCH])
        flat = self.add("Transpose", self.add("Reshape", patches, self.constant([0, DIM, -1], int)), perm=[0, 2, 1])
        count = self.add("Shape", pixels, start=0, end=1)
        shape = self.add("Concat", count, self.constant([1, DIM], int), axis=0)
        token = self.add("Expand", self.random(1, 1, DIM), shape)
        return self.add("Add", self.add("Concat", token, flat, axis=1), self.random(1, TOKENS, DIM))


def graph() -> onnx.ModelProto:
    """uint8 pictures [n, 224, 224, 3] → float16 unit vectors [n, 192]."""
    g = Graph()
    x = g.tokens("pixels")
    for _ in range(DEPTH):
        x = g.add("Add", x, g.attention(g.norm(x)))
        hidden = g.add("Gelu", g.linear(g.norm(x), DIM, HIDDEN))
        x = g.add("Add", x, g.linear(hidden, HIDDEN, DIM))
    first = g.add("Gather", g.norm(x), g.constant(0, np.int64), axis=1)
    unit = g.add("LpNormalization", first, axis=-1, p=2)
    g.nodes.append(helper.make_node("Cast", [unit], ["embedding"], to=TensorProto.FLOAT16))
    taken = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", SIZE, SIZE, 3])
    given = helper.make_tensor_value_info("embedding", TensorProto.FLOAT16, ["n", DIM])
    whole = helper.make_graph(g.nodes, NAME, [taken], [given], g.weights)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def write(repository: Path, like: Path) -> None:
    """The model in `repository`, with everything but its size and preprocessing configured as the one in `like`.

    The picture is squashed as the clients' is, so that every contestant encodes the same pixels.
    """
    model = graph().SerializeToString()
    folder = repository / NAME
    config = text_format.Parse((like / "config.pbtxt").read_text(), pb.ModelConfig())
    config.name = NAME
    config.input[0].dims[:] = [SIZE, SIZE, 3]
    config.output[0].dims[:] = [DIM]
    digest, preprocessing = Digest(hashlib.sha256(model).hexdigest()), Preprocessing().to_json()
    version = version_of(digest, preprocessing)
    (folder / str(version)).mkdir(parents=True, exist_ok=True)
    (folder / str(version) / "model.onnx").write_bytes(model)
    config.version_policy.specific.versions[:] = [version]
    told = {"name": NAME, "digest": digest, "preprocessing": preprocessing}
    for key, value in told.items():
        config.parameters[f"eyestream.{key}"].string_value = value
    (folder / "config.pbtxt").write_text(text_format.MessageToString(config))
