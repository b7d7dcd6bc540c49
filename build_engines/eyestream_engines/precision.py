"""A graph in FP32 made one in FP16 whose every tensor says its own type: nothing is left to a compiler's choice.

Three zones, by where the matrix products are. Before the first of them (pictures are cast and normalised) and after the
last (pooling, final norm, length 1) everything stays in FP32. Between, weights and activations are FP16, and the
operators that lose too much there (norms, softmax, means) are islands: cast up, computed, cast down. Knows no network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from eyestream.errors import Misconfigured

PRODUCTS: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
ISLANDS: Final = frozenset(
    {
        *("LayerNormalization", "GroupNormalization", "InstanceNormalization", "BatchNormalization"),
        *("LpNormalization", "RMSNormalization", "Softmax", "LogSoftmax"),
        *("ReduceMean", "ReduceSum", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"),
        *("GlobalAveragePool", "AveragePool"),
    }
)
_MOVES: Final = frozenset(
    {*("Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Concat", "Gather", "Expand", "Split", "Flatten")}
)
"""What moves numbers and changes none."""
_FULL: Final = ir.DataType.FLOAT
_HALF: Final = ir.DataType.FLOAT16
_LARGEST: Final = float(np.finfo(np.float16).max)


def halve(model: ir.Model) -> None:
    """Change the model in place; its float outputs become FP16. Raises Misconfigured where a weight does not fit."""
    graph = model.graph
    nodes = list(graph)
    _refuse_subgraphs(nodes)
    middle = _after_first(nodes) & _before_last(nodes)
    casts = _Casts(graph)
    for node in nodes:
        between = id(node) in middle
        inside = _HALF if between and node.op_type not in ISLANDS else _FULL
        for place, value in enumerate(node.inputs):
            if value is not None and value.dtype in (_FULL, _HALF) and node.op_type != "Cast":
                node.replace_input_with(place, casts.as_type(value, inside, before=node))
        for value in node.outputs:
            if value.dtype == _FULL:
                value.dtype = inside
        if between and inside == _FULL:
            casts.hand_down(node)
    for place, value in enumerate(graph.outputs):
        if value.dtype == _FULL:
            graph.outputs[place] = _renamed(casts, value)
    casts.drop_unused()


def emulate(model: ir.Model) -> None:
    """Change a graph that `halve` made into one in FP32 whose every stored FP16 number is rounded as FP16 would be.

    ONNX Runtime computes FP16 on a processor in FP32 and rounds only the weights; a GPU rounds whatever it stores, and
    adds up products in FP32. This graph says on a processor what a GPU will answer. Numbers too large become the
    largest there is; those below 6e-5 are kept more exactly than FP16 keeps them.
    """
    graph = model.graph
    for value in graph.initializers.values():
        if value.dtype == _HALF:
            assert value.const_value is not None
            value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
            value.dtype = _FULL
    rounding = _Rounding(graph)
    for node in list(graph):
        for value in node.outputs:
            if value.dtype == _HALF:
                value.dtype = _FULL
                if node.op_type not in _MOVES:
                    rounding.after(node, value)
        if node.op_type == "Cast" and node.attributes["to"].as_int() == int(_HALF):
            node.attributes["to"] = ir.AttrInt64("to", int(_FULL))
    for value in graph.outputs:
        value.dtype = _FULL


def count(model: ir.Model) -> dict[str, int]:
    """How many numbers of the weights are of each type."""
    found: dict[str, int] = {}
    for value in model.graph.initializers.values():
        tensor = value.const_value
        assert tensor is not None
        found[tensor.dtype.name] = found.get(tensor.dtype.name, 0) + int(tensor.size)
    return found


class _Casts:
    """Makes each value available in the other type once, beside the first node that asks."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[tuple[int, ir.DataType], ir.Value] = {}

    def as_type(self, value: ir.Value, kind: ir.DataType, *, before: ir.Node) -> ir.Value:
        """The value in that type."""
        if value.dtype == kind:
            return value
        key = (id(value), kind)
        if key not in self._made:
            if value.const_value is not None and value.name in self._graph.initializers:
                self._made[key] = self._weight(value, kind)
            else:
                self._made[key] = self._cast(value, kind, before=before)
        return self._made[key]

    def hand_down(self, island: ir.Node) -> None:
        """Let those who read an island's results read them in FP16; the island's own nodes are not visited again."""
        for value in island.outputs:
            if value.dtype == _FULL and value.uses():
                half = self._cast(value, _HALF, after=island)
                for use in list(value.uses()):
                    if use.node is not half.producer():
                        use.node.replace_input_with(use.idx, half)
                self._made[id(half), _FULL] = value

    def output(self, value: ir.Value) -> ir.Value:
        """The value in FP16 at the end of the graph."""
        producer = value.producer()
        assert producer is not None
        return self._cast(value, _HALF, after=producer)

    def drop_unused(self) -> None:
        """Take out the FP32 weights that nobody reads any more."""
        for name, value in list(self._graph.initializers.items()):
            if not value.uses():
                del self._graph.initializers[name]

    def _cast(
        self, value: ir.Value, kind: ir.DataType, *, before: ir.Node | None = None, after: ir.Node | None = None
    ) -> ir.Value:
        cast = ir.Node("", "Cast", [value], attributes=[ir.AttrInt64("to", int(kind))], num_outputs=1)
        made = cast.outputs[0]
        made.name, made.dtype, made.shape = f"{value.name}.{kind.name.lower()}", kind, value.shape
        if before is not None:
            self._graph.insert_before(before, cast)
        elif after is not None:
            self._graph.insert_after(after, cast)
        return made

    def _weight(self, value: ir.Value, kind: ir.DataType) -> ir.Value:
        assert value.const_value is not None
        numbers = value.const_value.numpy()
        largest = float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0))
        if kind == _HALF and largest > _LARGEST:
            if numbers.size > 1:
                raise Misconfigured(f"{value.name} holds {largest:.3g}, which FP16 cannot: this encoder needs FP32")
            numbers = np.clip(numbers, -_LARGEST, _LARGEST)
        name = f"{value.name}.{kind.name.lower()}"
        tensor = ir.tensor(numbers.astype(np.float16 if kind == _HALF else np.float32), name=name)
        made = ir.Value(name=name, type=ir.TensorType(kind), shape=value.shape, const_value=tensor)
        self._graph.register_initializer(made)
        return made


class _Rounding:
    """Puts a rounding to eleven bits behind a value: x * 8193 - (x * 8193 - x), Dekker's splitting."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph, self._made = graph, 0
        self._split = self._number("round.split", 2.0**13 + 1)
        self._ends = [self._number("round.least", -_LARGEST), self._number("round.most", _LARGEST)]

    def after(self, node: ir.Node, value: ir.Value) -> None:
        """All who read the value read it rounded."""
        uses = list(value.uses())
        scaled = self._node("Mul", [value, self._split], after=node)
        rest = self._node("Sub", [scaled, value], after=self._of(scaled))
        rounded = self._node("Sub", [scaled, rest], after=self._of(rest))
        kept = self._node("Clip", [rounded, *self._ends], after=self._of(rounded))
        for use in uses:
            use.node.replace_input_with(use.idx, kept)
        for place, output in enumerate(self._graph.outputs):
            if output is value:
                self._graph.outputs[place] = kept
                value.name, kept.name = f"{value.name}.exact", value.name

    def _node(self, kind: str, inputs: list[ir.Value], *, after: ir.Node) -> ir.Value:
        node = ir.Node("", kind, inputs, num_outputs=1)
        made = node.outputs[0]
        self._made += 1
        made.name, made.dtype, made.shape = f"round.{self._made}", _FULL, inputs[0].shape
        self._graph.insert_after(after, node)
        return made

    def _number(self, name: str, number: float) -> ir.Value:
        tensor = ir.tensor(np.array(number, np.float32), name=name)
        value = ir.Value(name=name, type=ir.TensorType(_FULL), shape=ir.Shape([]), const_value=tensor)
        self._graph.register_initializer(value)
        return value

    @staticmethod
    def _of(value: ir.Value) -> ir.Node:
        node = value.producer()
        assert node is not None
        return node


def _renamed(casts: _Casts, value: ir.Value) -> ir.Value:
    """The cast takes the output's name, for the world knows it."""
    name = value.name
    value.name = f"{name}.full"
    made = casts.output(value)
    made.name = name
    return made


def _after_first(nodes: Iterable[ir.Node]) -> set[int]:
    """Matrix products, and all that depends on one."""
    found: set[int] = set()
    for node in nodes:
        if node.op_type in PRODUCTS or any(id(giver) in found for giver in _givers(node)):
            found.add(id(node))
    return found


def _before_last(nodes: list[ir.Node]) -> set[int]:
    """Matrix products, and all that one depends on."""
    found: set[int] = set()
    for node in reversed(nodes):
        if node.op_type in PRODUCTS or any(id(taker) in found for value in node.outputs for taker in value.consumers()):
            found.add(id(node))
    return found


def _givers(node: ir.Node) -> Iterator[ir.Node]:
    return (giver for value in node.inputs if value is not None and (giver := value.producer()) is not None)


def _refuse_subgraphs(nodes: Iterable[Any]) -> None:
    for node in nodes:
        if any(
            attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            for attribute in node.attributes.values()
        ):
            raise Misconfigured(f"{node.op_type} holds a graph of its own; its types cannot be set here")
