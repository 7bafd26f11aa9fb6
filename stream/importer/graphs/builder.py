"""A small hand for writing ONNX graphs: values are names, operators are calls."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from stream.models.onnx import NEXT, STATE

OPSET, IR_VERSION = 17, 8
LARGE, PAGE = 4096, 4096  # bytes
TYPES = {"float": TensorProto.FLOAT, "int64": TensorProto.INT64}

Array = NDArray[Any]
Dim = int | str


class Graph:
    """An ONNX graph that grows node by node. A value is its name, a `str`.

    weights   the file to keep large constants in, beside that of the graph: of hundreds of MB it is
              written and loaded several times as fast, in a third of the memory

    >>> graph = Graph("twice")
    >>> x = graph.input("x", (1, "t"))
    >>> graph.output(graph.add(x, x), "y", (1, "t"))
    >>> graph.model().graph.node[0].op_type
    'Add'
    """

    def __init__(self, name: str, weights: Path | None = None) -> None:
        self._name = name
        self._weights = weights
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._tensors: dict[str, Any] = {}
        self._small: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0

    def input(self, name: str, shape: Sequence[Dim], kind: str = "float") -> str:
        """Declare an input; a dimension may be a name."""
        self._inputs.append(helper.make_tensor_value_info(name, TYPES[kind], list(shape)))
        return name

    def output(self, value: str, name: str, shape: Sequence[Dim]) -> None:
        """Declare `value` an output called `name`."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def state(self, name: str, shape: Sequence[int]) -> str:
        """Declare memory: the input `state_<name>`; `carry` says what is in it at the next call."""
        return self.input(STATE + name, shape)

    def carry(self, name: str, value: str, shape: Sequence[int]) -> None:
        """Declare what `state(name, shape)` is at the next call."""
        self.output(value, NEXT + name, shape)

    def constant(self, array: Array, name: str = "") -> str:
        """A weight or number; small ones that are equal share one tensor."""
        array = np.ascontiguousarray(array)
        key = (array.dtype.str, array.shape, array.tobytes() if array.size <= 64 else b"")
        if not name and array.size <= 64 and key in self._small:
            return self._small[key]
        label = name or self._fresh("c")
        if self._weights is not None and array.nbytes >= LARGE:
            self._tensors[label] = _outside(array, label, self._weights)
        else:
            self._tensors[label] = numpy_helper.from_array(array, label)
        if not name and array.size <= 64:
            self._small[key] = label
        return label

    def integers(self, *values: int) -> str:
        """A constant int64 vector."""
        return self.constant(np.array(values, np.int64))

    def number(self, value: float) -> str:
        """A constant float32 scalar."""
        return self.constant(np.array(value, np.float32))

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator of one output."""
        return self.nodes(operator, 1, *inputs, **attributes)[0]

    def nodes(self, operator: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add an operator of several outputs."""
        names = [self._fresh(operator.lower()) for _ in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def add(self, a: str, b: str) -> str:
        """a + b, broadcast."""
        return self.node("Add", a, b)

    def mul(self, a: str, b: str) -> str:
        """a * b, broadcast."""
        return self.node("Mul", a, b)

    def concat(self, *values: str, axis: int = -1) -> str:
        """Join along `axis`."""
        return self.node("Concat", *values, axis=axis)

    def slice(self, value: str, start: int, end: int | None = None, axis: int = -1) -> str:
        """value[start:end] along `axis`; negative positions count from the end."""
        stop = np.iinfo(np.int64).max if end is None else end
        bounds = (self.integers(start), self.integers(int(stop)), self.integers(axis))
        return self.node("Slice", value, *bounds)

    def reshape(self, value: str, *shape: int) -> str:
        """Another shape; -1 is what fits, 0 keeps a dimension."""
        return self.node("Reshape", value, self.integers(*shape))

    def transpose(self, value: str, *order: int) -> str:
        """Permute the dimensions."""
        return self.node("Transpose", value, perm=list(order))

    def leaky(self, value: str, slope: float) -> str:
        """max(x, slope x)."""
        return self.node("LeakyRelu", value, alpha=slope)

    def linear(self, value: str, weight: Array, bias: Array | None = None) -> str:
        """[..., n] @ weight.T + bias; weight [m, n] as torch keeps it."""
        product = self.node("MatMul", value, self.constant(weight.T))
        return product if bias is None else self.add(product, self.constant(bias))

    def model(self) -> Any:
        """The finished model, checked."""
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, list(self._tensors.values())
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, producer_name="timbral")
        model.ir_version = IR_VERSION
        if self._weights is None:
            onnx.checker.check_model(model)
        return model

    def save(self, path: Path) -> None:
        """Write the model to `path`."""
        onnx.save(self.model(), str(path))
        if self._weights is not None:
            onnx.checker.check_model(str(path))  # which looks into the other file as well

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"


def _outside(array: Array, label: str, path: Path) -> Any:
    """A tensor whose numbers are appended to the file at `path`, where a page begins."""
    with path.open("ab") as file:
        file.write(bytes(-file.tell() % PAGE))
        start = file.tell()
        array.astype(array.dtype.newbyteorder("<"), copy=False).tofile(file)
    tensor = TensorProto(name=label, dims=array.shape)
    tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", path.name), ("offset", start), ("length", array.nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
