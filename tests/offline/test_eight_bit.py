import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from offline.train.eight_bit import to_eight_bit
from offline.train.export import SMALL, halve

RNG = np.random.default_rng(0)
WEIGHTS = RNG.standard_normal((256, 512)).astype(np.float32)
ROWS = (RNG.standard_normal((7, 256)) * np.logspace(-2, 2, 7)[:, None]).astype(np.float32)


def product() -> onnx.ModelProto:
    """y = x @ WEIGHTS"""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 256])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 512])
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "product", [x], [y], [numpy_helper.from_array(WEIGHTS, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(None, {"x": x})[0])


def test_the_product_stays_within_two_percent_in_every_row() -> None:
    small = to_eight_bit(product())
    assert small.ByteSize() < 0.3 * product().ByteSize()
    exact = ROWS @ WEIGHTS
    error = np.linalg.norm(run(small, ROWS) - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert (error < 0.02).all()
    assert (error > 1e-6).all()  # it is another computation, not the same


def test_a_row_does_not_depend_on_the_others_in_the_call() -> None:
    small = to_eight_bit(product())
    together = run(small, ROWS)
    alone = np.concatenate([run(small, row[np.newaxis]) for row in ROWS])
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_large_numbers_are_stored_in_half_whether_they_are_weights_or_constants() -> None:
    model = product()
    constant = numpy_helper.from_array(0.5 * WEIGHTS[:1], "held")
    nodes = [
        helper.make_node("Constant", [], ["c"], value=constant),
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "c"], ["y"]),
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    before = run(model, ROWS)
    halve(model)
    assert not [n for n in model.graph.node if n.op_type == "Constant"]
    kept = [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT]
    assert all(np.prod(t.dims) < SMALL for t in kept)
    error = np.linalg.norm(run(model, ROWS) - before) / np.linalg.norm(before)
    assert 1e-6 < error < 1e-3
    assert model.ByteSize() < 0.55 * WEIGHTS.nbytes
